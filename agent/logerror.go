package agent

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// LastLogError is the error with which an instance's log ends, for the report of
// its end: the last line, unless that is of a level below error. It explains only
// the end of an instance that exited by itself, not of one that was killed.
func LastLogError(log io.Reader) string {
	last := ""
	for lines := bufio.NewScanner(log); lines.Scan(); { // what could be read counts
		if s := strings.TrimSpace(lines.Text()); s != "" {
			last = s
		}
	}
	if lessThanError.MatchString(last) {
		return ""
	}
	last = strings.ToValidUTF8(last, "?")
	if len(last) > 200 {
		last = strings.ToValidUTF8(last[:200], "") + "…"
	}
	return last
}

// lessThanError are lines of slog, as our own roles write them.
var lessThanError = regexp.MustCompile(`^(time=\S+ level=|\{"time":"[^"]*","level":")(DEBUG|INFO|WARN)\b`)
