package proxy

import (
	"context"
	"sync"
	"time"

	"ringway/events"
	"ringway/router/upstream"
)

// eject takes a member that cannot be reached out of this router's choice.
func (p *Proxy) eject(m *member, f *upstream.Failure) {
	if !m.eject(p.cfg.TrialAfter) {
		return
	}
	m.metrics.ejections.Inc()
	m.pool.CloseIdle()
	p.trial.Notify()
	p.log.Warn("member ejected", events.KeyInstance, m.name, events.KeyAddress, m.address, events.KeyError, f)
}

// tryEjected connects to each ejected member when its time comes, and takes
// those back that answer. No client waits for a trial.
func (p *Proxy) tryEjected(ctx context.Context) {
	var trials sync.WaitGroup
	defer trials.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.trial:
		}
		now, wait := time.Now(), time.Hour
		for _, s := range p.snapshot.Load().services {
			for _, m := range s.members {
				due, at := m.trialDue(now)
				if due {
					trials.Go(func() { p.try(m) })
				} else if !at.IsZero() {
					wait = min(wait, at.Sub(now))
				}
			}
		}
		timer.Reset(wait)
	}
}

func (p *Proxy) try(m *member) {
	err := m.pool.Probe()
	m.tried(err == nil, time.Now(), p.cfg.MaxTrial)
	if err == nil {
		p.log.Info("member readmitted", events.KeyInstance, m.name, events.KeyAddress, m.address)
	}
	p.trial.Notify()
}
