package agent

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// LastWords is the error with which an instance's log ends, for the report of
// its end: the last line, unless that is a log's of less than an error. Only
// one that ended by itself with an error has spoken of it: what the log of one
// that was killed ends with has nothing to do with its death.
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
