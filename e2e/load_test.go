package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is traffic on one path that goes on until it is ended.
type load struct {
	sent, good atomic.Int64
	mu         sync.Mutex
	bad        []string
	byServer   map[string]int
	cancel     context.CancelFunc
	done       sync.WaitGroup
}

// startLoad sends requests over so many connections at once; pause is between
// two requests of one connection.
func startLoad(url string, concurrency int, pause time.Duration) *load {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	l := &load{cancel: cancel, byServer: map[string]int{}}
	transport := &http.Transport{MaxIdleConnsPerHost: concurrency}
	hc := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	for range concurrency {
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			tick := time.NewTicker(max(pause, time.Microsecond))
			defer tick.Stop()
			for ctx.Err() == nil {
				l.one(hc, url)
				if pause > 0 {
					select {
					case <-ctx.Done():
					case <-tick.C:
					}
				}
			}
		}()
	}
	go func() { l.done.Wait(); transport.CloseIdleConnections() }()
	return l
}

func (l *load) one(hc *http.Client, url string) {
	l.sent.Add(1)
	resp, err := hc.Get(url)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.fail(fmt.Sprintf("%d %s %v", resp.StatusCode, body, err))
		return
	}
	l.good.Add(1)
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil {
		l.mu.Lock()
		l.byServer[strings.TrimPrefix(answer.Message, "Hello from Server: ")]++
		l.mu.Unlock()
	}
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad = append(l.bad, time.Now().Format("05.000 ")+what)
}

// end stops the load and demands that every request was answered with 200.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.bad), l.sent.Load(), strings.Join(l.bad[:min(5, len(l.bad))], " | "))
	}
	t.Logf("%d requests, %d answered with 200", l.sent.Load(), l.good.Load())
}
