package bus_test

import (
	"context"
	"encoding/json"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/logs"
	"ringway/internal/testkit"
)

// scribe is a bus whose one log answers when the test does.
type scribe struct {
	t     *testing.T
	url   string
	asked chan *nats.Msg // for the log
}

func newScribe(t *testing.T) *scribe {
	t.Helper()
	ns, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true})
	testkit.Must(t, err)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(testkit.Patience) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(ns.ClientURL())
	testkit.Must(t, err)
	t.Cleanup(nc.Close)
	s := &scribe{t: t, url: ns.ClientURL(), asked: make(chan *nats.Msg, 10)}
	_, err = nc.ChanSubscribe("$JS.API.STREAM.INFO.>", s.asked)
	testkit.Must(t, err)
	_, err = nc.Subscribe(events.LogSubject(theLog.Table, theLog.Shard), func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"stream":"` + events.LogStream(theLog.Table, theLog.Shard) + `","seq":1}`)) // who asked sees it
	})
	testkit.Must(t, err)
	testkit.Must(t, nc.Flush())
	return s
}

func (s *scribe) log() *logs.Log {
	return testkit.Connect(s.t, s.url, func(cfg *bus.Config) { cfg.Timeout = testkit.Patience }).Log(theLog)
}

// question is the next one for the log. None comes if done ends before.
func (s *scribe) question(done <-chan error) *nats.Msg {
	s.t.Helper()
	select {
	case m := <-s.asked:
		return m
	case err := <-done:
		s.t.Fatalf("it ended without asking: %v", err)
		return nil
	}
}

// says answers that the log lives this life.
func (s *scribe) says(m *nats.Msg, id events.LogID) {
	s.t.Helper()
	b, err := json.Marshal(jetstream.StreamInfo{Config: jetstream.StreamConfig{
		Name: events.LogStream(id.Table, id.Shard), Metadata: map[string]string{"io.ringway.incarnation": id.Incarnation},
	}})
	testkit.Must(s.t, err)
	testkit.Must(s.t, m.Respond(b))
}

func later(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return done
}

func appending(ctx context.Context, l *logs.Log, id string) <-chan error {
	return later(func() error { _, err := l.Append(ctx, id, batchOf(id)); return err })
}

func state(ctx context.Context, l *logs.Log) <-chan error {
	return later(func() error { _, err := l.State(ctx); return err })
}

// Who has a short time is not held up by the question of one who has a long
// one, on a bus that answers neither.
func TestLog_AnsweredForNobodyElse(t *testing.T) {
	s := newScribe(t)
	l := s.log()
	long, stop := context.WithCancel(testkit.Context(t))
	stated := state(long, l)
	s.question(stated)
	short, cancel := context.WithCancel(testkit.Context(t))
	appended := appending(short, l, "b1")
	s.question(appended)
	cancel()
	err := <-appended
	wantErr(t, err, context.Canceled)
	wantNotStored(t, err)
	select {
	case err := <-stated:
		t.Fatalf("it waited for the other, which ended with %v", err)
	default:
	}
	stop()
	wantErr(t, <-stated, context.Canceled)
}

// An answer that is older than what somebody learned since is not kept.
func TestLog_KeepsNoAnswerOfBefore(t *testing.T) {
	s := newScribe(t)
	l := s.log()
	ctx := testkit.Context(t)
	first := appending(ctx, l, "b1")
	early := s.question(first)
	stated := state(ctx, l)
	s.says(s.question(stated), other(theLog)) // it was made anew since
	wantErr(t, <-stated, events.ErrLogForeign)
	s.says(early, theLog)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	second := appending(ctx, l, "b2")
	s.says(s.question(second), other(theLog))
	wantErr(t, <-second, events.ErrLogForeign)
}
