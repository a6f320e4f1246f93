// SPDX-License-Identifier: MIT
//
// common.go: what the programs in Go share; each is built of its own file and this one.
package main

import (
	"os"
	"strconv"
	"strings"
)

// A number from the command line.
func argument(i, otherwise int) int {
	if i >= len(os.Args) {
		return otherwise
	}
	n, _ := strconv.Atoi(os.Args[i])
	return n
}

// In KiB.
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
