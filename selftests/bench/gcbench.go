// SPDX-License-Identifier: MIT
//
// gcbench.go: gcbench.c in Go, as it stands there.
package main

import (
	"fmt"
	"runtime"
	"time"
)

const (
	minDepth  = 4
	arraySize = 500000
)

type node struct {
	left, right *node
	i, j        int32
}

var made uint64

func newNode(left, right *node) *node {
	made++
	return &node{left: left, right: right}
}

func treeSize(depth int) int {
	return 2<<depth - 1
}

func populate(depth int, n *node) {
	if depth == 0 {
		return
	}
	n.left = newNode(nil, nil)
	n.right = newNode(nil, nil)
	populate(depth-1, n.left)
	populate(depth-1, n.right)
}

func bottomUp(depth int) *node {
	if depth == 0 {
		return newNode(nil, nil)
	}
	left := bottomUp(depth - 1)
	right := bottomUp(depth - 1)
	return newNode(left, right)
}

func count(n *node) uint64 {
	if n == nil {
		return 0
	}
	return 1 + count(n.left) + count(n.right)
}

var sink *node

func main() {
	depth := argument(1, 16)
	stretch := depth + 2
	begun := time.Now()
	sink = bottomUp(stretch)
	sink = nil
	longLived := newNode(nil, nil)
	populate(depth, longLived)
	array := make([]float64, arraySize)
	for i := 0; i < arraySize/2; i++ {
		array[i] = 1.0 / float64(i+1)
	}
	for d := minDepth; d <= depth; d += 2 {
		n := 2 * treeSize(stretch) / treeSize(d)
		for i := 0; i < n; i++ {
			sink = newNode(nil, nil)
			populate(d, sink)
		}
		for i := 0; i < n; i++ {
			sink = bottomUp(d)
		}
	}
	check := made + count(longLived)
	if array[1000] == 1.0/1001 {
		check++
	}
	elapsed := time.Since(begun)

	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("ns=%d cycles=%d check=%d rss_kib=%d\n", elapsed.Nanoseconds(), m.NumGC, check, peakRSS())
}
