// SPDX-License-Identifier: MIT
//
// store.go: store.c in Go: [ROUNDS]
//
// Go's plain stores are to words that it does not know to be pointers.
package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"
)

const (
	slots = 512
	turns = 25
)

var array *[slots]*uint64
var value [2]*uint64

func plain(rounds int) float64 {
	words := (*[slots]uintptr)(unsafe.Pointer(array))
	begun := time.Now()
	for i := 0; i < rounds; i++ {
		v := uintptr(unsafe.Pointer(value[i&1]))
		for j := range words {
			words[j] = v
		}
	}
	return float64(time.Since(begun).Nanoseconds()) / float64(rounds*slots)
}

func checked(rounds int) float64 {
	pointers := array
	begun := time.Now()
	for i := 0; i < rounds; i++ {
		v := value[i&1]
		for j := range pointers {
			pointers[j] = v
		}
	}
	return float64(time.Since(begun).Nanoseconds()) / float64(rounds*slots)
}

func main() {
	rounds := argument(1, 20000)
	debug.SetGCPercent(-1)
	array = new([slots]*uint64)
	value = [2]*uint64{new(uint64), new(uint64)}
	p, c := 1e9, 1e9
	for i := 0; i < turns; i++ {
		if x := plain(rounds); x < p {
			p = x
		}
		if x := checked(rounds); x < c {
			c = x
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	same := 0
	if array[0] == array[slots-1] {
		same = 1
	}
	fmt.Printf("plain=%.3f checked=%.3f cycles=%d check=%d rss_kib=%d\n", p, c, m.NumGC, same, peakRSS())
}
