package router

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

var record = flag.Bool("record", false, "write testdata/corpus from what the router does now")

// exchange is one entry of the corpus: what a client sends on one connection,
// and what the members do. What each side receives is compared with a golden
// file byte for byte.
type exchange struct {
	name   string
	sent   []string // each after the answer to the one before
	first  script   // the owner of every key
	second script   // the next choice
	tune   func(*Config)
	route  func(*events.Route)
	parts  bool // chunks of the answer may be cut anywhere: compare what they carry
}

// script is what a scripted member does on each of its connections. On those
// beyond the script it answers every request with okAnswer.
type script [][]string

// Steps of a script that are no answers.
const (
	stepEnd   = "\x00end"   // close the connection
	stepReset = "\x00reset" // reset it
	stepHold  = "\x00hold"  // answer nothing more
	stepNow   = "\x00now"   // the rest is an answer that is sent before a request is read
	stepOff   = "\x00off"   // of a whole member: nobody listens
)

// corpusMember plays a script and records what it receives.
type corpusMember struct {
	address string
	mu      sync.Mutex
	got     []*bytes.Buffer // by connection
}

func startCorpusMember(t *testing.T, plays script, ended chan<- struct{}) (m *corpusMember, stop func()) {
	if len(plays) == 1 && plays[0][0] == stepOff {
		return &corpusMember{address: testkit.Address(t)}, func() {}
	}
	l := listen(t)
	m = &corpusMember{address: l.Addr().String()}
	var open sync.WaitGroup
	var conns []net.Conn
	open.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			got := &bytes.Buffer{}
			m.mu.Lock()
			m.got, conns = append(m.got, got), append(conns, c)
			m.mu.Unlock()
			steps, forever := []string{okAnswer}, true
			if n < len(plays) {
				steps, forever = plays[n], false
			}
			open.Go(func() { m.play(c, got, steps, forever, ended) })
		}
	})
	return m, func() {
		_ = l.Close()
		m.mu.Lock()
		for _, c := range conns { // the router has closed them: what it sent before is read
			_ = c.SetDeadline(time.Now().Add(testkit.Patience))
		}
		m.mu.Unlock()
		open.Wait()
	}
}

func (m *corpusMember) play(c net.Conn, got *bytes.Buffer, steps []string, forever bool, ended chan<- struct{}) {
	defer c.Close()
	in := make([]byte, 64<<10)
	pending := []byte{}
	for i := 0; forever || i < len(steps); i++ {
		step := steps[min(i, len(steps)-1)]
		answer, now := strings.CutPrefix(step, stepNow)
		for !now && step != stepEnd && step != stepReset {
			if n := requestLength(pending); n > 0 {
				pending = pending[n:]
				break
			}
			n, err := c.Read(in)
			m.mu.Lock()
			got.Write(in[:n])
			m.mu.Unlock()
			pending = append(pending, in[:n]...)
			if err != nil {
				return
			}
		}
		switch step {
		case stepEnd:
			_ = c.Close()
			ended <- struct{}{}
			return
		case stepReset:
			reset(c)
			ended <- struct{}{}
			return
		case stepHold:
		default:
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
	for { // until the router closes it
		n, err := c.Read(in)
		m.mu.Lock()
		got.Write(in[:n])
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// requestLength is the length of the request that b begins with; 0 if it is
// not whole. Members never get chunks.
func requestLength(b []byte) int {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return 0
	}
	n := head + 4
	for line := range bytes.SplitSeq(b[:head], []byte("\r\n")) {
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			size, _ := strconv.Atoi(string(bytes.TrimSpace(value)))
			n += size
		}
	}
	if len(b) < n {
		return 0
	}
	return n
}

// play sends what the client of x sends, and describes what both sides received.
func (x *exchange) play(t *testing.T) string {
	ended := make(chan struct{}, 100)
	s1, stop1 := startCorpusMember(t, x.first, ended)
	s2, stop2 := startCorpusMember(t, x.second, ended)
	w := start(t, func(c *Config) {
		c.Edge.Stop = 100 * time.Millisecond
		if x.tune != nil {
			x.tune(c)
		}
	})
	r := only(route(routeMember(1, s1.address), routeMember(2, s2.address)))
	r.Key = events.KeySource{From: "header", Name: "X-Key"}
	if x.route != nil {
		x.route(&r)
	}
	w.put(r)
	key := firstChoice(w)
	got, how := x.converse(t, w, strings.NewReplacer("{key}", key), ended)
	testkit.Must(t, w.stop())
	stop1()
	stop2()

	var out strings.Builder
	fmt.Fprintf(&out, "=== %s\n", x.name)
	for i, s := range x.sent {
		fmt.Fprintf(&out, "client sends %d\n%s", i, show([]byte(s)))
	}
	for i, m := range []*corpusMember{s1, s2} {
		for n, b := range m.got {
			fmt.Fprintf(&out, "member S%d, connection %d receives\n%s", i+1, n, show(normal(b.Bytes(), key)))
		}
	}
	if x.parts {
		got = joinChunks(got)
	}
	fmt.Fprintf(&out, "client receives\n%s%s\n\n", show(normal(got, key)), how)
	return out.String()
}

func (x *exchange) converse(t *testing.T, w *world, fill *strings.Replacer, ended <-chan struct{}) (got []byte, how string) {
	c := w.dial()
	defer c.Close()
	testkit.Must(t, c.SetDeadline(time.Now().Add(testkit.Patience)))
	in := make([]byte, 64<<10)
	for i, s := range x.sent {
		if i > 0 { // the answer is here, and the member has done what follows it
			for !bytes.HasSuffix(got, []byte("ok")) {
				n, err := c.Read(in)
				got = append(got, in[:n]...)
				if err != nil {
					return got, "broken: " + err.Error()
				}
			}
			select {
			case <-ended:
			case <-t.Context().Done():
			}
		}
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = io.WriteString(c, fill.Replace(s)) })
		if len(s) < 64<<10 {
			sending.Wait()
		} else {
			defer sending.Wait()
		}
		if i == len(x.sent)-1 && len(s) < 64<<10 {
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}
	}
	rest, err := io.ReadAll(c)
	got = append(got, rest...)
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return got, "reset"
	case err != nil:
		return got, "broken: " + err.Error()
	}
	return got, "end"
}

var (
	dates = regexp.MustCompile(`(?m)^Date: [^\r]*`)
	ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

func normal(b []byte, key string) []byte {
	b = dates.ReplaceAll(b, []byte("Date: DATE"))
	b = ports.ReplaceAll(b, []byte("127.0.0.1:PORT"))
	return bytes.ReplaceAll(b, []byte("X-Key: "+key+"\r\n"), []byte("X-Key: {key}\r\n"))
}

// joinChunks replaces the chunks of a body by what they carry.
func joinChunks(got []byte) []byte {
	head, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte("Transfer-Encoding: chunked")) {
		return got
	}
	out := append(slices.Clone(head), "\r\n\r\nCHUNKS "...)
	for {
		size, rest, ok := bytes.Cut(body, []byte("\r\n"))
		n, err := strconv.ParseUint(string(size), 16, 32)
		if !ok || err != nil || len(rest) < int(n)+2 {
			return append(append(out, " BROKEN "...), body...)
		}
		out = append(out, rest[:n]...)
		if n == 0 {
			return append(append(out, " END"...), rest[2:]...)
		}
		body = rest[n+2:]
	}
}

// show is b for people: a line each, long ones by their hash.
func show(b []byte) string {
	var out strings.Builder
	for line := range strings.SplitAfterSeq(string(b), "\n") {
		if line == "" {
			continue
		}
		if len(line) > 300 {
			fmt.Fprintf(&out, "  %q… %d bytes, sha256 %.16x\n", line[:40], len(line), sha256.Sum256([]byte(line)))
			continue
		}
		fmt.Fprintf(&out, "  %q\n", line)
	}
	return out.String()
}

// TestCorpus compares the bytes on both sides of the router with those that
// were recorded: go test ./router -run TestCorpus -record writes them anew.
func TestCorpus(t *testing.T) {
	for _, group := range []struct {
		name string
		all  []exchange
	}{
		{"forwarded", corpusForwarded()}, {"fields", corpusFields()}, {"refused", corpusRefused()}, {"answers", corpusAnswers()},
		{"repeated", corpusRepeated()}, {"pipelined", corpusPipelined()}, {"own", corpusOwn()},
	} {
		t.Run(group.name, func(t *testing.T) {
			var got strings.Builder
			seen := map[string]bool{}
			for _, x := range group.all {
				if seen[x.name] {
					t.Fatalf("two entries are called %q", x.name)
				}
				seen[x.name] = true
				got.WriteString(x.play(t))
			}
			file := filepath.Join("testdata", "corpus", group.name+".golden")
			if *record {
				testkit.Must(t, os.WriteFile(file, []byte(got.String()), 0o644))
				return
			}
			want, err := os.ReadFile(file)
			testkit.Must(t, err)
			compareCorpus(t, strings.Split(got.String(), "=== "), strings.Split(string(want), "=== "))
		})
	}
}

func compareCorpus(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d entries, %d were recorded", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("got\n%swant\n%s", got[i], want[i])
		}
	}
}

// corpusUnix is a Unix socket in the place of the port.
func corpusUnix(c *Config) net.Listener {
	_ = c.Public[0].Close()
	dir, err := os.MkdirTemp("", "unix-")
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		panic(err)
	}
	return l
}
