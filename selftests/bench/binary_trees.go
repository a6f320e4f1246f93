// SPDX-License-Identifier: MIT
//
// binary_trees.go: binary-trees.c in Go, one goroutine, as it stands there.
package main

import (
	"fmt"
	"runtime"
	"sort"
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
	depth := argument(1, 18)
	begun := time.Now()
	check := count(make_(depth + 1))
	longLived := make_(depth)
	for d := minDepth; d <= depth; d += 2 {
		for i := 1 << (depth - d + minDepth); i > 0; i-- {
			check += count(make_(d))
		}
	}
	elapsed := time.Since(begun)

	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if forced := argument(2, 0); forced > 0 {
		force(forced)
	}
	check += count(longLived)
	fmt.Printf("ns=%d cycles=%d check=%d rss_kib=%d\n", elapsed.Nanoseconds(), m.NumGC, check, peakRSS())
}

func force(n int) {
	ns := make([]int64, n)
	runtime.GC()
	for i := range ns {
		begun := time.Now()
		runtime.GC()
		ns[i] = time.Since(begun).Nanoseconds()
	}
	sort.Slice(ns, func(i, j int) bool { return ns[i] < ns[j] })
	fmt.Printf("forced=%d forced_p99=%d ", ns[n/2], ns[n*99/100])
}
