// SPDX-License-Identifier: MIT
//
// binary_trees.go: binary-trees.c in Go, one goroutine, as it stands there.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const minDepth = 4

type node struct {
	left, right *node
}

func make_(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{make_(depth - 1), make_(depth - 1)}
}

func count(n *node) uint64 {
	if n.left == nil {
		return 1
	}
	return 1 + count(n.left) + count(n.right)
}

func main() {
	depth := 18
	if len(os.Args) > 1 {
		depth, _ = strconv.Atoi(os.Args[1])
	}
	begun := time.Now()
	check := count(make_(depth + 1))
	longLived := make_(depth)
	for d := minDepth; d <= depth; d += 2 {
		for i := 1 << (depth - d + minDepth); i > 0; i-- {
			check += count(make_(d))
		}
	}
	check += count(longLived)
	elapsed := time.Since(begun)

	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("ns=%d cycles=%d check=%d rss_kib=%d\n", elapsed.Nanoseconds(), m.NumGC, check, peakRSS())
}

func peakRSS() int {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, _ := strconv.Atoi(f[1])
			return kib
		}
	}
	return 0
}
