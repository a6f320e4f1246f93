// SPDX-License-Identifier: MIT
//
// phases.go: phases.c in Go: [LISTS]
package main

import (
	"fmt"
	"runtime"
	"time"
)

const (
	nodes = 1024
	most  = 200 * 16
)

type node struct {
	next   *node
	value  uint64
	filler [6]uint64
}

func list(value uint64) *node {
	var head *node
	for i := uint64(0); i < nodes; i++ {
		n := new(node)
		n.next = head
		n.value = value + i
		head = n
	}
	return head
}

func main() {
	lists := argument(1, 20000)
	table := make([]*node, most)
	var check, at uint64
	begun := time.Now()
	for _, mib := range []uint64{10, 200, 20} {
		room := mib * 16
		for i := room; i < most; i++ {
			table[i] = nil
		}
		for i := 0; i < lists; i++ {
			at = (at + 1617) % room
			table[at] = list(uint64(i))
		}
		for i := uint64(0); i < room; i++ {
			for n := table[i]; n != nil; n = n.next {
				check += n.value
			}
		}
	}
	elapsed := time.Since(begun)

	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("ns=%d cycles=%d check=%d rss_kib=%d\n", elapsed.Nanoseconds(), m.NumGC, check, peakRSS())
}
