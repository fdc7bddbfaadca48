package controller

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// A request waits here until what it asked for is real.
type request struct {
	add      bool
	req      events.ScaleRequest
	service  string
	added    []string // as they were called then
	removed  []string // must own no slot at any router
	deadline time.Time
	done     func(any, error)
}

func (r *request) answer(reply any, err error) effect { return answer{done: r.done, reply: reply, err: err} }

// scaling holds the requests to add and to remove replicas.
type scaling struct {
	s        *state
	pending  []*request // accepted, and not answered
	deferred []*request // not accepted yet
}

func newScaling(s *state) *scaling { return &scaling{s: s} }

// verbs are the requests about replicas.
func (p *scaling) verbs() map[string]verb {
	scale := func(add bool) verb {
		return func(body []byte) (begin, error) {
			var req events.ScaleRequest
			if err := json.Unmarshal(body, &req); err != nil {
				return nil, err
			}
			req.ID = cmp.Or(req.ID, rand.Text())
			return func(now time.Time, done func(any, error)) []effect {
				return p.accept(&request{add: add, req: req, deadline: now.Add(p.s.cfg.RequestTimeout), done: done}, now)
			}, nil
		}
	}
	return map[string]verb{events.APIAdd: scale(true), events.APIRemove: scale(false)}
}

// accept turns a request into a new desired state, or refuses it. A request
// that was accepted before, perhaps by another leader, changes nothing again.
func (p *scaling) accept(r *request, now time.Time) []effect {
	s := p.s
	svc, err := s.findService(r.req.Service)
	if err != nil {
		return []effect{r.answer(nil, err)}
	}
	r.service = svc.Spec.Name
	if err := checkID(r.req.ID); err != nil {
		return []effect{r.answer(nil, err)}
	}
	if i := slices.IndexFunc(svc.Answered, func(a events.Answered) bool { return r.req.ID != "" && a.Request == r.req.ID }); i >= 0 {
		r.removed, r.added = svc.Answered[i].Removed, svc.Answered[i].Added
		p.pending = append(p.pending, r)
		return nil
	}

	before := len(svc.Replicas)
	done := events.Answered{Request: r.req.ID}
	if r.add {
		if err = s.checkAdd(svc, r.req, now.Before(r.deadline)); errors.Is(err, errDeferred) {
			p.deferred = append(p.deferred, r)
			return nil
		}
		if err == nil {
			svc.Replicas, done.Added = s.addReplicas(svc, r.req.N, r.req.Names, r.req.ID)
		}
	} else {
		if err = s.checkRemove(svc, r.req); err == nil {
			svc.Replicas, done.Removed = s.removeReplicas(svc, r.req.N, r.req.Names)
		}
	}
	if err != nil {
		return []effect{r.answer(nil, err)}
	}
	r.added, r.removed = done.Added, done.Removed
	svc.Spec.Replicas = len(svc.Replicas)
	svc.Answered = append(slices.Clone(svc.Answered), done)
	if len(svc.Answered) > s.cfg.RememberedRequests {
		svc.Answered = svc.Answered[len(svc.Answered)-s.cfg.RememberedRequests:]
	}
	svc.Decision = s.because(s.event(now, events.EntityService, events.VerbScaled, svc.Spec.Name, map[string]any{
		"reason": "request " + r.req.ID, "added": append([]string{}, done.Added...), "removed": append([]string{}, done.Removed...), "from": before, "to": len(svc.Replicas),
	}))
	p.pending = append(p.pending, r)
	return []effect{putService{value: svc}}
}

// errDeferred: what a request needs is about to be free.
var errDeferred = errors.New("later")

// acceptDeferred takes up again the requests that were too early.
func (p *scaling) acceptDeferred(now time.Time) []effect {
	early := p.deferred
	p.deferred = nil
	for i, r := range early {
		if effects := p.accept(r, now); len(effects) > 0 {
			p.deferred = append(p.deferred, early[i+1:]...)
			return effects
		}
	}
	return nil
}

// findService finds the one a request is about; the empty name means the only one.
func (s *state) findService(name string) (events.Service, error) {
	if name == "" && len(s.services) == 1 {
		name = sorted(s.services)[0]
	}
	svc, ok := s.services[name]
	switch {
	case ok:
		return svc.value, nil
	case len(s.services) == 0:
		return events.Service{}, events.StatusErrorf(http.StatusServiceUnavailable, "there is no service yet; try again in a moment")
	case name == "":
		return events.Service{}, events.StatusErrorf(http.StatusBadRequest, "service is missing; name one of %s", strings.Join(sorted(s.services), ", "))
	}
	return events.Service{}, events.StatusErrorf(http.StatusNotFound, "service '%s' does not exist; there are %s", name, strings.Join(sorted(s.services), ", "))
}

func checkNames(req events.ScaleRequest) error {
	for i, name := range req.Names {
		if err := events.ValidName(name); err != nil {
			return events.StatusErrorf(http.StatusBadRequest, "hostnames: %s", err)
		}
		if slices.Contains(req.Names[:i], name) {
			return events.StatusErrorf(http.StatusBadRequest, "hostnames: '%s' is listed twice", name)
		}
	}
	return nil
}

func (s *state) checkAdd(svc events.Service, req events.ScaleRequest, mayWait bool) error {
	switch {
	case req.N <= 0:
		return events.StatusErrorf(http.StatusBadRequest, "n is %d; it must be at least 1", req.N)
	case len(req.Names) > req.N:
		return events.StatusErrorf(http.StatusBadRequest, "Length of hostname list is more than newly added instances")
	}
	if err := checkNames(req); err != nil {
		return err
	}
	var deferred error
	for _, name := range req.Names {
		switch {
		case !s.nameTaken(svc, name):
		case mayWait && s.nameBecomesFree(svc, name):
			deferred = errDeferred
		default:
			return events.StatusErrorf(http.StatusBadRequest, "hostnames: '%s' is already in use", name)
		}
	}
	if free := svc.Spec.MaxReplicas() - len(svc.Replicas); req.N > free {
		return events.StatusErrorf(http.StatusBadRequest, "n is %d, but no slot is left for so many: %d slots of algorithm %s hold at most %d replicas, there are %d",
			req.N, svc.Spec.Slots, svc.Spec.Algorithm, svc.Spec.MaxReplicas(), len(svc.Replicas))
	}
	return deferred
}

func (s *state) checkRemove(svc events.Service, req events.ScaleRequest) error {
	switch {
	case req.N <= 0:
		return events.StatusErrorf(http.StatusBadRequest, "n is %d; it must be at least 1", req.N)
	case len(req.Names) > req.N:
		return events.StatusErrorf(http.StatusBadRequest, "Length of hostname list is more than removable instances")
	case req.N > len(svc.Replicas):
		return events.StatusErrorf(http.StatusBadRequest, "n is %d, but there are only %d replicas", req.N, len(svc.Replicas))
	}
	if err := checkNames(req); err != nil {
		return err
	}
	for _, name := range req.Names {
		if !isReplica(svc, name) {
			return events.StatusErrorf(http.StatusBadRequest, "hostnames: '%s' is not a replica%s", name, s.serverHint(name))
		}
	}
	return nil
}

// serverHint says how a name that is no replica's is removed, if it is a shard
// server's.
func (s *state) serverHint(name string) string {
	for _, table := range sorted(s.tables) {
		if _, ok := serverOf(s.tables[table].value, name); ok {
			which := ""
			if len(s.tables) > 1 {
				which = fmt.Sprintf(`"table":%q,`, table)
			}
			return fmt.Sprintf(` but a database server of table %s; DELETE /rm {%s"n":1,"servers":[%q]} removes it`, table, which, name)
		}
	}
	return ""
}

// replicaHint is the like of a name that is no server's.
func (s *state) replicaHint(name string) string {
	for _, service := range sorted(s.services) {
		if isReplica(s.services[service].value, name) {
			if len(s.services) > 1 {
				return fmt.Sprintf(" but a replica of service %s; 'ringway rm --service %[1]s %s' removes it", service, name)
			}
			return fmt.Sprintf(` but a replica of service %s; DELETE /rm {"n":1,"hostnames":[%q]} removes it`, service, name)
		}
	}
	return ""
}

// nameTaken: by somebody who is wanted, or by an instance that is on its way out.
func (s *state) nameTaken(svc events.Service, name string) bool {
	if s.nameWanted(svc, name) {
		return true
	}
	if _, ok := s.placement(name); ok {
		return true
	}
	for _, h := range s.hosts {
		if _, ok := h.status(name); ok {
			return true
		}
	}
	return false
}

// nameBecomesFree: nobody wants the one that has the name, and its host can stop it.
func (s *state) nameBecomesFree(svc events.Service, name string) bool {
	if s.nameWanted(svc, name) {
		return false
	}
	at, placed := s.placement(name)
	for host, h := range s.hosts {
		if _, there := h.status(name); (there || placed && host == at) && h.state != events.Alive {
			return false
		}
	}
	return true
}

// nameWanted: as a replica of any service or a shard server of any table.
func (s *state) nameWanted(svc events.Service, name string) bool {
	if isWanted(svc, name) {
		return true
	}
	for _, other := range s.services {
		if isWanted(other.value, name) {
			return true
		}
	}
	return s.serverTaken(name)
}

// addReplicas adds n replicas, the named ones first.
func (s *state) addReplicas(svc events.Service, n int, names []string, request string) (all []events.Replica, added []string) {
	svc.Replicas = slices.Clone(svc.Replicas)
	for i := range n {
		var name string
		if i < len(names) {
			name = names[i]
		} else {
			name = s.freshName(svc)
		}
		svc.Replicas = append(svc.Replicas, events.Replica{Name: name, ID: freeID(svc.Replicas), Request: request})
		added = append(added, name)
	}
	return svc.Replicas, added
}

// removeReplicas removes n replicas, the named ones first, then random ones: of those
// that do not serve, and only then of those that do.
func (s *state) removeReplicas(svc events.Service, n int, names []string) (left []events.Replica, removed []string) {
	left, removed = slices.Clone(svc.Replicas), slices.Clone(names)
	order := s.rng.Perm(len(left))
	slices.SortStableFunc(order, func(a, b int) int {
		return falseFirst(s.ownsSlots(svc.Spec.Name, left[a]), s.ownsSlots(svc.Spec.Name, left[b]))
	})
	for _, i := range order {
		if pick := left[i].Name; len(removed) < n && !slices.Contains(removed, pick) {
			removed = append(removed, pick)
		}
	}
	left = slices.DeleteFunc(left, func(r events.Replica) bool { return slices.Contains(removed, r.Name) })
	return left, removed
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// resize follows a configured count.
func (s *state) resize(svc events.Service, n int) []events.Replica {
	switch have := len(svc.Replicas); {
	case n > have:
		svc.Replicas, _ = s.addReplicas(svc, n-have, nil, "")
	case n < have:
		svc.Replicas, _ = s.removeReplicas(svc, have-n, nil)
	}
	return svc.Replicas
}

// freeID is the smallest positive integer that no replica has.
func freeID(replicas []events.Replica) int {
	for id := 1; ; id++ {
		if !slices.ContainsFunc(replicas, func(r events.Replica) bool { return r.ID == id }) {
			return id
		}
	}
}

var nameCode = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// freshName is <service>-<six random characters>, used by nobody.
func (s *state) freshName(svc events.Service) string {
	prefix := svc.Spec.Name
	if len(prefix) > events.MaxNameBytes-7 {
		prefix = prefix[:events.MaxNameBytes-7]
	}
	for {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], s.rng.Uint32())
		if name := prefix + "-" + nameCode.EncodeToString(b[:])[:6]; !s.nameTaken(svc, name) {
			return name
		}
	}
}

// reply answers the requests that are fulfilled, or whose time is up.
func (p *scaling) reply(now time.Time) (effects []effect) {
	s := p.s
	p.pending = slices.DeleteFunc(p.pending, func(r *request) bool {
		route, ok := s.routes[r.service]
		missing := s.waitingFor(r)
		lost := s.removedSince(r)
		switch {
		case lost != nil:
			effects = append(effects, r.answer(nil, lost))
		case ok && missing == "" && s.served(r.service, route.version, now):
			effects = append(effects, r.answer(s.scaled(r), nil))
		case !now.Before(r.deadline):
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusGatewayTimeout,
				"accepted, but not finished in time: %s; the controller goes on with it", missing)))
		default:
			return false
		}
		return true
	})
	return effects
}

// waitingFor says what a request still waits for.
func (s *state) waitingFor(r *request) string {
	svc, ok := s.services[r.service]
	route, routed := s.routes[r.service]
	if !ok || !routed {
		return "the service is gone"
	}
	for _, name := range r.removed {
		if owns(route.value, name) {
			return name + " is still in rotation"
		}
	}
	for _, x := range svc.value.Replicas {
		if r.has(x) && !owns(route.value, x.Name) {
			return x.Name + " is not ready yet"
		}
	}
	return ""
}

// has reports whether a replica is one that the request added, or its
// replacement.
func (r *request) has(x events.Replica) bool { return r.add && x.Request == r.req.ID }

// removedSince refuses to call a request done if what it added was removed meanwhile.
func (s *state) removedSince(r *request) error {
	svc, ok := s.services[r.service]
	if !ok {
		return nil
	}
	return removedMeanwhile(r.added, svc.value.Replicas, r.has)
}

// removedMeanwhile compares what was added with those that are there of it.
func removedMeanwhile[T any](added []string, all []T, has func(T) bool) error {
	lost := len(added)
	for _, x := range all {
		if has(x) {
			lost--
		}
	}
	switch {
	case lost <= 0:
		return nil
	case len(added) == 1:
		return events.StatusErrorf(http.StatusConflict, "'%s' was added, and has been removed since", added[0])
	default:
		return events.StatusErrorf(http.StatusConflict, "of %d that were added %d have been removed since", len(added), lost)
	}
}

// checkID bounds what every replica keeps.
func checkID(request string) error {
	if len(request) > events.MaxRequestBytes {
		return events.StatusErrorf(http.StatusBadRequest, "id: %d bytes are too many; at most %d", len(request), events.MaxRequestBytes)
	}
	return nil
}

func (s *state) scaled(r *request) events.ScaleReply {
	route := s.routes[r.service]
	reply := events.ScaleReply{Service: r.service, Replicas: []string{}, Removed: r.removed, Epoch: route.version}
	replicas := s.services[r.service].value.Replicas
	for _, m := range route.value.Members {
		if !m.Draining {
			reply.Replicas = append(reply.Replicas, m.Name)
			if slices.ContainsFunc(replicas, func(x events.Replica) bool { return x.Name == m.Name && r.has(x) }) {
				reply.Added = append(reply.Added, m.Name)
			}
		}
	}
	return reply
}

func replicaNames(replicas []events.Replica) []string {
	names := []string{}
	for _, r := range replicas {
		names = append(names, r.Name)
	}
	return names
}
