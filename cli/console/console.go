// Package console is how commands talk with people: progress and messages on
// stderr, tables or JSON on stdout, and errors with exit codes.
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// Console is stderr: at most one line of progress at the bottom, messages
// above it. Where it is no terminal, progress is plain lines, one a change.
type Console struct {
	mu    sync.Mutex
	W     io.Writer
	Width func() int // 0: no terminal
	line  string
}

// New writes to w, and shows progress in place if that is a terminal.
func New(w io.Writer) *Console {
	c := &Console{W: w, Width: func() int { return 0 }}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.Width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width < 20 {
				return 80
			}
			return width
		}
	}
	return c
}

// Printf writes one message.
func (c *Console) Printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Width() > 0 && c.line != "" {
		fmt.Fprintf(c.W, "\r\033[K"+format+"\n%s", append(args, c.line)...)
		return
	}
	fmt.Fprintf(c.W, format+"\n", args...)
}

// Progress puts line in place of the one before.
func (c *Console) Progress(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	width := c.Width()
	if width > 0 && utf8.RuneCountInString(line) >= width {
		line = string([]rune(line)[:width-2]) + "…"
	}
	if line == c.line {
		return
	}
	c.line = line
	if width > 0 {
		fmt.Fprint(c.W, "\r\033[K"+line)
		return
	}
	fmt.Fprintln(c.W, line)
}

// Clear takes the line of progress away.
func (c *Console) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != "" && c.Width() > 0 {
		fmt.Fprint(c.W, "\r\033[K")
	}
	c.line = ""
}

// Printable makes text from elsewhere harmless to a terminal and to a table.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}
