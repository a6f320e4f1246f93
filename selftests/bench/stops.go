// SPDX-License-Identifier: MIT
//
// stops.go: stops.c in Go: run|read|poll THREADS CYCLES SECONDS [THREADS-AT-A-TIME]
//
// Who sleeps in a system call has a thread of its own.  Who spins has none: Go runs
// as many at a time as there are processors, or as the last argument says.  Times are
// from runtime/metrics, whose buckets are an eighth to a quarter wide: a bucket's middle.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var done int32
var eintr int64
var object *[64]byte

type pollfd struct {
	fd      int32
	events  int16
	revents int16
}

func sleepIn(state string, fd int) {
	runtime.LockOSThread()
	var c [1]byte
	for {
		var err error
		if state == "poll" {
			p := pollfd{fd: int32(fd), events: 1}
			_, _, e := syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1, ^uintptr(0))
			if e != 0 {
				err = e
			}
		} else {
			_, err = syscall.Read(fd, c[:])
		}
		if err != syscall.EINTR {
			return
		}
		atomic.AddInt64(&eintr, 1)
	}
}

func spin() {
	for atomic.LoadInt32(&done) == 0 {
	}
}

func numberAfter(text, key string) (n int64) {
	if i := strings.Index(text, key); i >= 0 {
		if f := strings.Fields(strings.TrimLeft(text[i+len(key):], " \t:")); len(f) > 0 {
			n, _ = strconv.ParseInt(f[0], 10, 64)
		}
	}
	return
}

type counts struct {
	voluntary, involuntary, wakeups, interrupts int64
}

// Of these threads; of all there are if there are none.
func count(tids []int) (c counts) {
	text, _ := os.ReadFile("/proc/interrupts")
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || (f[0] != "RES:" && f[0] != "CAL:") {
			continue
		}
		for _, word := range f[1:] {
			n, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				break
			}
			c.interrupts += n
		}
	}
	var dirs []string
	if tids == nil {
		dirs, _ = filepath.Glob("/proc/self/task/*")
	}
	for _, tid := range tids {
		dirs = append(dirs, fmt.Sprintf("/proc/self/task/%d", tid))
	}
	for _, dir := range dirs {
		text, _ := os.ReadFile(dir + "/status")
		c.involuntary += numberAfter(string(text), "nonvoluntary_ctxt_switches:")
		c.voluntary += numberAfter(string(text), "\nvoluntary_ctxt_switches:")
		text, _ = os.ReadFile(dir + "/sched")
		c.wakeups += numberAfter(string(text), "nr_wakeups ")
	}
	return
}

var names = []string{"/sched/pauses/total/gc:seconds", "/sched/pauses/stopping/gc:seconds"}

func pauses() (h [2]*metrics.Float64Histogram) {
	s := []metrics.Sample{{Name: names[0]}, {Name: names[1]}}
	metrics.Read(s)
	for i := range s {
		if s[i].Value.Kind() == metrics.KindFloat64Histogram {
			h[i] = s[i].Value.Float64Histogram()
		}
	}
	return
}

func printQuantiles(name string, a, b *metrics.Float64Histogram) (n uint64) {
	if a == nil || b == nil {
		return // an older Go
	}
	for i := range b.Counts {
		n += b.Counts[i] - a.Counts[i]
	}
	quantile := func(permille uint64) float64 {
		var seen uint64
		for i := range b.Counts {
			seen += b.Counts[i] - a.Counts[i]
			if seen*1000 > n*permille {
				return (b.Buckets[i] + b.Buckets[i+1]) / 2 * 1e9
			}
		}
		return 0
	}
	fmt.Printf(" %s=%.0f %s_p99=%.0f %s_least=%.0f", name, quantile(500), name, quantile(989),
		name, quantile(0))
	return
}

func main() {
	state := os.Args[1]
	threads, _ := strconv.Atoi(os.Args[2])
	stops, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	if len(os.Args) > 5 {
		procs, _ := strconv.Atoi(os.Args[5])
		runtime.GOMAXPROCS(procs)
	}
	object = new([64]byte)

	var tids []int
	var ready sync.WaitGroup
	var lock sync.Mutex
	start := make(chan bool)
	for i := 0; i < threads; i++ {
		var p [2]int
		if err := syscall.Pipe(p[:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		ready.Add(1)
		go func() {
			if state == "run" {
				ready.Done()
				<-start
				spin()
				return
			}
			runtime.LockOSThread()
			lock.Lock()
			tids = append(tids, syscall.Gettid())
			lock.Unlock()
			ready.Done()
			sleepIn(state, p[0])
		}()
	}
	ready.Wait()
	runtime.GC()
	time.Sleep(100 * time.Millisecond)

	// Before they spin: afterwards this goroutine would wait at each system call.
	before := count(tids)
	old := pauses()
	close(start)
	time.Sleep(10 * time.Millisecond)
	var cycles []int64
	begun := time.Now()
	for {
		t := time.Now()
		runtime.GC()
		cycles = append(cycles, time.Since(t).Nanoseconds())
		if 2*len(cycles) >= stops || time.Since(begun).Seconds() >= seconds {
			break
		}
	}
	elapsed := time.Since(begun).Nanoseconds()
	atomic.StoreInt32(&done, 1)
	after := count(tids)
	now := pauses()

	sort.Slice(cycles, func(i, j int) bool { return cycles[i] < cycles[j] })
	fmt.Printf("engine=go threads=%d ns=%d postponed=0 cycle=%d cycle_p99=%d cycle_least=%d", threads,
		elapsed, cycles[len(cycles)/2], cycles[len(cycles)*99/100], cycles[0])
	n := printQuantiles("stop", old[0], now[0])
	printQuantiles("hold", old[1], now[1])
	fmt.Printf(" stops=%d voluntary=%d involuntary=%d wakeups=%d interrupts=%d eintr=%d\n", n,
		after.voluntary-before.voluntary, after.involuntary-before.involuntary,
		after.wakeups-before.wakeups, after.interrupts-before.interrupts, atomic.LoadInt64(&eintr))
}
