// SPDX-License-Identifier: MIT
//
// alloc.go: alloc.c in Go: BYTES COUNT [THREADS [noscan]]
//
// The size of an object is part of its type here, so there are only those of the cases
// below.  The number that is summed up is in the last word: what Go has in a pointer must
// be one.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

const window = 1024

// PAD is what makes it as large as asked for.
type withPointer[PAD any] struct {
	next *byte
	pad  PAD
	n    uint64
}

type withoutPointer[PAD any] struct {
	first uint64
	pad   PAD
	n     uint64
}

func allocate[PAD any](count uint64) (sum uint64) {
	var kept [window]*withPointer[PAD]
	for i := uint64(0); i < count; i++ {
		slot := &kept[i%window]
		o := new(withPointer[PAD])
		o.n = i & 0xffff
		if *slot != nil {
			sum += (*slot).n
		}
		*slot = o
	}
	return
}

func allocateNoscan[PAD any](count uint64) (sum uint64) {
	var kept [window]*withoutPointer[PAD]
	for i := uint64(0); i < count; i++ {
		slot := &kept[i%window]
		o := new(withoutPointer[PAD])
		o.n = i & 0xffff
		if *slot != nil {
			sum += (*slot).n
		}
		*slot = o
	}
	return
}

// Two words of an object are not padding.
func pick(bytes int, noscan bool) func(uint64) uint64 {
	scanned := map[int]func(uint64) uint64{
		16: allocate[[0]uint64], 32: allocate[[2]uint64], 64: allocate[[6]uint64],
		256: allocate[[30]uint64], 2048: allocate[[254]uint64],
	}
	plain := map[int]func(uint64) uint64{
		16: allocateNoscan[[0]uint64], 32: allocateNoscan[[2]uint64], 64: allocateNoscan[[6]uint64],
		256: allocateNoscan[[30]uint64], 2048: allocateNoscan[[254]uint64],
	}
	if noscan {
		return plain[bytes]
	}
	return scanned[bytes]
}

func main() {
	count, threads := argument(2, 10000000), argument(3, 1)
	fn := pick(argument(1, 64), len(os.Args) > 4 && os.Args[4] == "noscan")
	if fn == nil {
		fmt.Fprintln(os.Stderr, "alloc-go: no objects of this size")
		os.Exit(1)
	}
	ns, sums := make([]int64, threads), make([]uint64, threads)
	start := make(chan bool)
	var done sync.WaitGroup
	for t := 0; t < threads; t++ {
		done.Add(1)
		go func(t int) {
			<-start
			begun := time.Now()
			sums[t] = fn(uint64(count))
			ns[t] = time.Since(begun).Nanoseconds()
			done.Done()
		}(t)
	}
	close(start)
	done.Wait()

	var longest int64
	var sum uint64
	for t := range ns {
		if ns[t] > longest {
			longest = ns[t]
		}
		sum += sums[t]
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("ns=%d each_ns=%.2f cycles=%d check=%d rss_kib=%d\n", longest,
		float64(longest)/float64(count), m.NumGC, sum, peakRSS())
}
