package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// console is stderr: at most one line of progress at the bottom, messages
// above it. Where it is no terminal, progress is plain lines, one a change.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	width func() int // 0: no terminal
	line  string
}

func newConsole(w io.Writer) *console {
	c := &console{w: w, width: func() int { return 0 }}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width < 20 {
				return 80
			}
			return width
		}
	}
	return c
}

// say writes one message.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.width() > 0 && c.line != "" {
		fmt.Fprintf(c.w, "\r\033[K"+format+"\n%s", append(args, c.line)...)
		return
	}
	fmt.Fprintf(c.w, format+"\n", args...)
}

// progress puts line in place of the one before.
func (c *console) progress(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	width := c.width()
	if width > 0 && utf8.RuneCountInString(line) >= width {
		line = string([]rune(line)[:width-2]) + "…"
	}
	if line == c.line {
		return
	}
	c.line = line
	if width > 0 {
		fmt.Fprint(c.w, "\r\033[K"+line)
		return
	}
	fmt.Fprintln(c.w, line)
}

// clear takes the line of progress away.
func (c *console) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != "" && c.width() > 0 {
		fmt.Fprint(c.w, "\r\033[K")
	}
	c.line = ""
}

// printable makes text from elsewhere harmless to a terminal and to a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}
