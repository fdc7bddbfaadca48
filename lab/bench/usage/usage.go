// Package usage measures processor time by process.
package usage

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Ours is who this process is.
const Ours = "clients"

// Usage is processor time by who used it.
type Usage map[string]time.Duration

// Since is what was used after before.
func (u Usage) Since(before Usage) Usage {
	more := Usage{}
	for who, used := range u {
		if used > before[who] {
			more[who] = used - before[who]
		}
	}
	return more
}

// All is what everybody used.
func (u Usage) All() (sum time.Duration) {
	for _, used := range u {
		sum += used
	}
	return sum
}

// Each is what one of n ops took, the most first.
func (u Usage) Each(n int) string {
	var parts []string
	for _, who := range slices.SortedFunc(maps.Keys(u), func(a, b string) int { return int(u[b] - u[a]) }) {
		parts = append(parts, fmt.Sprintf("%s %.0f", who, float64(u[who].Microseconds())/float64(max(n, 1))))
	}
	return strings.Join(parts, ", ")
}

// Of is that of processes and all below them, by role, and of ourselves.
// Linux only; elsewhere it is of this process.
func Of(roots ...int) Usage {
	u := Usage{}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		u[Ours] = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	below := map[int][]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // a process may end meanwhile
	for _, file := range files {
		if p, ok := readProcess(filepath.Dir(file)); ok {
			if slices.Contains(roots, p.pid) {
				u[p.role] += p.used
			}
			below[p.parent] = append(below[p.parent], p)
		}
	}
	var add func(pid int)
	add = func(pid int) {
		for _, p := range below[pid] {
			u[p.role] += p.used
			add(p.pid)
		}
	}
	for _, root := range roots {
		add(root)
	}
	return u
}

type process struct {
	pid, parent int
	role        string
	used        time.Duration
}

// Tick is the unit of /proc's times on every Linux that Go runs on.
const Tick = 10 * time.Millisecond

func readProcess(dir string) (p process, ok bool) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	name, rest := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[rest+1:])) // state, parent, …, utime and stime
	if name < 0 || len(fields) < 13 {
		return p, false
	}
	p.pid, _ = strconv.Atoi(filepath.Base(dir)) // the pattern was of digits
	p.parent, _ = strconv.Atoi(fields[1])
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	p.used = time.Duration(user+system) * Tick
	p.role = string(stat[name+1 : rest])
	args, _ := os.ReadFile(dir + "/cmdline")
	if words := strings.Split(string(args), "\x00"); len(words) > 1 && words[1] != "" && !strings.HasPrefix(words[1], "-") {
		p.role = words[1] // of ringway's
	}
	return p, true
}
