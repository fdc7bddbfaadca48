package cluster

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"ringway/events"
)

// NameTaken: by somebody who is wanted, by an instance that is on its way out, or
// by a shard server that was heard a moment ago.
func NameTaken(s *State, svc events.Service, name string) bool {
	srv, heard := s.Servers[name]
	return nameWanted(s, svc, name) || heard && srv.Heartbeat != nil || nameOnHost(s, name)
}

// nameOnHost: as an instance that is assigned or was reported.
func nameOnHost(s *State, name string) bool {
	if _, ok := s.Placement(name); ok {
		return true
	}
	for _, h := range s.Hosts {
		if _, ok := h.Status(name); ok {
			return true
		}
	}
	return false
}

// NameBecomesFree: nobody wants the one that has the name, and its host can stop it;
// what only sends heartbeats may end.
func NameBecomesFree(s *State, svc events.Service, name string) bool {
	if nameWanted(s, svc, name) {
		return false
	}
	at, placed := s.Placement(name)
	for host, h := range s.Hosts {
		if _, there := h.Status(name); (there || placed && host == at) && h.State != events.Alive {
			return false
		}
	}
	return true
}

// nameWanted: as a replica of any service or a shard server of any table.
func nameWanted(s *State, svc events.Service, name string) bool {
	if IsWanted(svc, name) {
		return true
	}
	for _, other := range s.Services {
		if IsWanted(other.Value, name) {
			return true
		}
	}
	return serverWanted(s, name)
}

var nameCode = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// FreshName is <service>-<six random characters>, used by nobody.
func FreshName(s *State, svc events.Service) string {
	prefix := svc.Spec.Name
	if len(prefix) > events.MaxNameBytes-7 {
		prefix = prefix[:events.MaxNameBytes-7]
	}
	for {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], s.Rng.Uint32())
		if name := prefix + "-" + nameCode.EncodeToString(b[:])[:6]; !NameTaken(s, svc, name) {
			return name
		}
	}
}

func serverWanted(s *State, name string) bool {
	for _, db := range s.Tables {
		if _, ok := ServerOf(db.Value, name); ok {
			return true
		}
	}
	return false
}

// FreshServer is Server<five digits>, used by nobody.
func FreshServer(s *State, except ...string) string {
	for {
		name := fmt.Sprintf("Server%d", 10000+s.Rng.IntN(90000))
		if !NameTaken(s, events.Service{}, name) && !slices.Contains(except, name) {
			return name
		}
	}
}

// FreshVolume names a data directory. No other ever had this name, on any bus:
// what lies there would be taken for this server's.
func FreshVolume() string { return "vol-" + strings.ToLower(rand.Text()[:16]) }
