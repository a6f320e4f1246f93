// SPDX-License-Identifier: MIT
//
// ring.go: ring.c in Go: [PUSHES [WINDOW]]
//
// A message is of words, as Go writes a byte at a time where C has memset().
package main

import (
	"fmt"
	"math/bits"
	"runtime"
	"sort"
	"syscall"
	"time"
	"unsafe"
)

const (
	words    = 1024 / 8
	stepBits = 7
	steps    = 1 << stepBits
	buckets  = (64 - stepBits + 1) * steps
)

type message [words]uint64

func bucket(ns uint64) uint {
	if ns < steps {
		return uint(ns)
	}
	e := uint(63 - bits.LeadingZeros64(ns) - stepBits)
	return (e+1)*steps + uint(ns>>e)%steps
}

func bucketNs(b uint) uint64 {
	e := b / steps
	if e == 0 {
		return uint64(b)
	}
	return uint64(steps+b%steps)<<(e-1) + 1<<(e-1)/2
}

func quantile(counts []uint64, n, above uint64) uint64 {
	var seen uint64
	for b := range counts {
		seen += counts[b]
		if seen*1000000 >= n*(1000000-above) {
			return bucketNs(uint(b))
		}
	}
	return 0
}

const (
	lost   = 2000 // ns
	losses = 1 << 18
)

type loss struct {
	end, ns, sum uint64
}

// What was lost until t.
func lostBy(ls []loss, t uint64) uint64 {
	i := sort.Search(len(ls), func(i int) bool { return ls[i].end >= t })
	switch {
	case len(ls) == 0:
		return 0
	case i == len(ls):
		return ls[i-1].sum
	case t+ls[i].ns <= ls[i].end:
		return ls[i].sum - ls[i].ns
	}
	return ls[i].sum - (ls[i].end - t)
}

// Per mille of a time of w ns, see ring.c.
func utilisation(ls []loss, w uint64) uint64 {
	var worst uint64
	for _, l := range ls {
		if x := lostBy(ls, l.end-l.ns+w) - (l.sum - l.ns); x > worst {
			worst = x
		}
		if l.end < w {
			continue
		}
		if x := l.sum - lostBy(ls, l.end-w); x > worst {
			worst = x
		}
	}
	if worst > w {
		worst = w
	}
	return 1000 - worst*1000/w
}

// Not in the heap, whose size would have it collected less often.
func outside() []loss {
	b, err := syscall.Mmap(-1, 0, losses*int(unsafe.Sizeof(loss{})), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_POPULATE)
	if err != nil {
		panic(err)
	}
	return unsafe.Slice((*loss)(unsafe.Pointer(&b[0])), losses)[:0]
}

func main() {
	pushes, window := argument(1, 2000000), argument(2, 200000)
	counts := make([]uint64, buckets)
	base := time.Now()
	now := func() uint64 { return uint64(time.Since(base)) } // one look at the clock
	clock := ^uint64(0)
	for i := 0; i < 1000; i++ {
		t := now()
		if t = now() - t; t < clock {
			clock = t
		}
	}

	ring := make([]*message, window)
	ls := outside()
	var sum, longest uint64
	begun := now()
	for i := 0; i < pushes; i++ {
		slot := &ring[i%window]
		if old := *slot; old != nil {
			sum += old[0]&0xff + old[words-1]>>56
		}
		t := now()
		m := new(message)
		w := uint64(byte(i)) * 0x0101010101010101
		for j := range m {
			m[j] = w
		}
		*slot = m
		end := now()
		t = end - t
		if t > lost && i >= pushes/2 && len(ls) < losses {
			l := loss{end, t, t}
			if len(ls) > 0 {
				l.sum += ls[len(ls)-1].sum
			}
			ls = append(ls, l)
		}
		counts[bucket(t)]++
		if t > longest {
			longest = t
		}
	}
	elapsed := now() - begun

	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	n := uint64(pushes)
	fmt.Printf("ns=%d clock=%d p50=%d p99=%d p999=%d p9999=%d max=%d cycles=%d check=%d mmu1=%d mmu10=%d mmu100=%d rss_kib=%d\n",
		elapsed, clock, quantile(counts, n, 500000), quantile(counts, n, 10000),
		quantile(counts, n, 1000), quantile(counts, n, 100), longest, s.NumGC, sum,
		utilisation(ls, 1000000), utilisation(ls, 10000000), utilisation(ls, 100000000), peakRSS())
}
