// Package proc reads what the kernel reports of a process; see proc(5).
package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stat is one process.
type Stat struct {
	PID     int
	Group   int
	Session int
	Ticks   uint64 // its start since boot: a recycled pid has another
	Dead    bool   // a zombie
}

// Read reads /proc/<pid>/stat.
func Read(pid int) (Stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	// The second field is the name, in brackets, and may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return Stat{}, fmt.Errorf("read process %d: %d fields", pid, len(f))
	}
	group, err := strconv.Atoi(f[2])
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	session, err := strconv.Atoi(f[3])
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	ticks, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return Stat{PID: pid, Group: group, Session: session, Ticks: ticks, Dead: f[0] == "Z" || f[0] == "X"}, nil
}
