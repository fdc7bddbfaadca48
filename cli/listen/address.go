package listen

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringway/cli/console"
)

const DefaultNATS = "127.0.0.1:4222"

// NATSURL accepts host:port, host and URLs, also several with commas, and
// returns what a NATS client takes.
func NATSURL(s string) (string, error) { return URLs("--nats", s, "4222") }

// URLs checks addresses of NATS servers, separated by commas; a port that is
// missing is port.
func URLs(flag, s, port string) (string, error) {
	var urls []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
			return "", console.Usage("%s %q: want host:port or a URL like nats://127.0.0.1:%s", flag, s, port)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", console.Usage("%s %q: scheme %q is unknown; use nats, tls, ws or wss", flag, s, u.Scheme)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), port)
		}
		if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
			return "", console.Usage("%s %q: port %s is out of range; use 1 to 65535", flag, s, u.Port())
		}
		u.Path = ""
		urls = append(urls, u.String())
	}
	return strings.Join(urls, ","), nil
}

// Address checks what a person gave to listen at.
func Address(flag, s string) (string, error) {
	s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(s, "/"), "nats://"), "http://")
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		like := "127.0.0.1:5000"
		if flag == "--nats" {
			like = DefaultNATS
		}
		return "", console.Usage("%s %q: want host:port, like %s", flag, s, like)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", console.Usage("%s %q: port %q is out of range; use 0 (any free one) to 65535", flag, s, port)
	}
	return s, nil
}

// maxPublic addresses are descriptors of a router that its own children do not
// inherit: see role.
const maxPublic = 8

// PublicFlag is the --listen of whoever serves clients.
func PublicFlag(cmd *cobra.Command, listen *[]string) {
	const usual = "127.0.0.1:5000"
	cmd.Flags().StringSliceVar(listen, "listen", []string{usual}, "`address` for clients, host:port or unix:/path/to.sock; may be given again")
	cmd.Flag("listen").DefValue = usual
}

// PublicAddresses checks what a person gave to listen at for clients: host:port
// or unix:PATH. Those of the network come first, and paths are absolute.
func PublicAddresses(flag string, given []string) (all []string, err error) {
	var sockets []string
	for _, s := range given {
		path, ok := UnixPath(s)
		if !ok {
			if s, err = Address(flag, s); err != nil {
				return nil, fmt.Errorf("%w, or unix:/path/to.sock", err)
			}
			all = append(all, s)
			continue
		}
		if path == "" {
			return nil, console.Usage("%s %q: want a path, like unix:/run/ringway.sock", flag, s)
		}
		if path, err = filepath.Abs(path); err == nil {
			err = CheckUnixPath(path)
		}
		if err != nil {
			return nil, console.Usage("%w; choose another with %s unix:PATH", err, flag)
		}
		sockets = append(sockets, "unix:"+path)
	}
	all = append(all, sockets...)
	if n := len(all); n < 1 || n > maxPublic {
		return nil, console.Usage("%s: %d addresses; give 1 to %d", flag, n, maxPublic)
	}
	return all, nil
}

// PublicListeners are inherited sockets, or else new ones.
func PublicListeners(flag string, addresses []string, fds []int) (all []net.Listener, err error) {
	open := func(l net.Listener, err error) error {
		if err == nil {
			all = append(all, l)
		}
		return err
	}
	for _, fd := range fds {
		if err := open(Inherited(fd)); err != nil {
			return all, err
		}
	}
	if len(fds) > 0 {
		return all, nil
	}
	if addresses, err = PublicAddresses(flag, addresses); err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if err := open(Open(a, flag)); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Listener is an inherited socket, or else a new one.
func Listener(flag, address string, fd int) (net.Listener, error) {
	if fd != 0 {
		return Inherited(fd)
	}
	address, err := Address(flag, address)
	if err != nil {
		return nil, err
	}
	return Open(address, flag)
}

// ClientURL is how a client reaches a public address.
func ClientURL(address string) string {
	if _, ok := UnixPath(address); ok {
		return address
	}
	return "http://" + Reachable(address)
}

// Dialer dials an address of ours, whatever it is asked for.
func Dialer(address string) func(ctx context.Context, _, _ string) (net.Conn, error) {
	network, to := "tcp", Reachable(address)
	if path, ok := UnixPath(address); ok {
		network, to = "unix", path
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, to)
	}
}

// Reachable is an address at which a listener of this machine is reached.
func Reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
