package server

import (
	"fmt"
	"log/slog"
	"sync"
)

// serverLog is nats-server's log as slog. Its notices are steps, not events:
// they are Debug here, so that the bus is quiet unless something is wrong.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	cause error
}

// fatal is the first thing that kept the server from starting.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

func (l *serverLog) Noticef(format string, v ...any) { forward(l.log.Debug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { forward(l.log.Debug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { forward(l.log.Debug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { forward(l.log.Warn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { forward(l.log.Error, format, v) }

// Fatalf must not end the process: the server runs inside a role.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = fmt.Errorf(format, v...)
	}
}

func forward(to func(string, ...any), format string, v []any) {
	to("nats-server", "says", fmt.Sprintf(format, v...))
}
