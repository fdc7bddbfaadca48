package agent

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxProbeBody is how much of an answer is read: an instance may send any amount.
const maxProbeBody = 64 << 10

// probe checks the health of one instance until ctx ends. Intervals run from
// start to start and are 10 to 25 % shorter than configured, so that the
// probes of instances started together drift apart.
func (h *host) probe(ctx context.Context, in Instance, path string) {
	client := prober(h.cfg.ProbeTimeout)
	interval := h.cfg.ProbeFirst
	hurryUntil := time.Now().Add(h.cfg.ReadyWithin)
	for ctx.Err() == nil {
		next := time.Now().Add(time.Duration(float64(interval) * (0.75 + 0.15*rand.Float64())))
		select {
		case h.probes <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := probeOnce(ctx, client, in.Address, path, h.cfg.ProbeTimeout)
		<-h.probes
		if ctx.Err() != nil {
			return // the error is our own doing
		}
		if err == nil || time.Now().After(hurryUntil) {
			interval = h.cfg.ProbeEvery
		}
		h.post(ctx, func(h *host) { h.probed(in, err) })
		pause(ctx, time.Until(next))
	}
}

// prober opens a connection for each probe: that the instance accepts it is half
// of the probe. A transport goes on to dial for whom nobody waits any more,
// hence the dialer's own timeout.
func prober(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: timeout}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func probeOnce(ctx context.Context, client *http.Client, address, path string, timeout time.Duration) error {
	if !strings.HasPrefix(path, "/") { // else it could name another host
		return fmt.Errorf("health path %q does not begin with /", path)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	req.Header.Set("User-Agent", "ringway-agent")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxProbeBody)); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("probe: %s answers %d", path, res.StatusCode)
	}
	return nil
}
