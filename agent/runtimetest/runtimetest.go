// Package runtimetest is what the tests of runtimes stand on: specs of instances,
// and stand-ins for the programs that these run. Its own tests specify what every
// agent.Runtime must do, with real instances of each implementation.
package runtimetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"ringway/events"
)

// NATS is what the runtime passes to shard servers.
const NATS = "nats://bus.example:4222"

// Token is that of every instance which the tests start.
var Token = events.Token{Incarnation: "life", Revision: 7}

// Sample is the spec of a sample replica.
func Sample(name string) events.InstanceSpec {
	return events.InstanceSpec{Name: name, Service: "web", ID: 1, Health: "/heartbeat", Grace: events.Duration(5 * time.Second)}
}

// Shell is the spec of a shell script.
func Shell(name, script string) events.InstanceSpec {
	spec := Sample(name)
	spec.Command = []string{"/bin/sh", "-c", script}
	return spec
}

// Shard is the spec of a shard server.
func Shard(name, volume string) events.InstanceSpec {
	return events.InstanceSpec{
		Name: name, Service: "StudT", ID: 1, Kind: events.KindShard, Volume: volume, Engine: "sqlite",
		Health: "/heartbeat", Grace: events.Duration(20 * time.Second),
	}
}

// Get returns nil when the instance answers 200 with a body that contains want.
func Get(address, path, want string) error {
	dialer := &net.Dialer{Timeout: time.Second} // or it goes on to dial an address that is gone
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	res, err := client.Get("http://" + address + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		return fmt.Errorf("got %d %q", res.StatusCode, body)
	}
	return nil
}
