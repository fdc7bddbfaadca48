package cli

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

const defaultNATS = "127.0.0.1:4222"

// natsURL accepts host:port, host and URLs, also several with commas, and
// returns what a NATS client takes.
func natsURL(s string) (string, error) {
	var urls []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
			return "", usage("--nats %q: want host:port or a URL like nats://127.0.0.1:4222", s)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", usage("--nats %q: scheme %q is unknown; use nats, tls, ws or wss", s, u.Scheme)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "4222")
		}
		if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
			return "", usage("--nats %q: port %s is out of range; use 1 to 65535", s, u.Port())
		}
		u.Path = ""
		urls = append(urls, u.String())
	}
	return strings.Join(urls, ","), nil
}

// listenAddress checks what a person gave to listen at.
func listenAddress(flag, s string) (string, error) {
	s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(s, "/"), "nats://"), "http://")
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", usage("%s %q: want host:port, like 127.0.0.1:5000", flag, s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", usage("%s %q: port %q is out of range; use 0 (any free one) to 65535", flag, s, port)
	}
	return s, nil
}

// reachable is an address at which a listener of this machine is reached.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
