package services

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"ringway/controller/cluster"
	"ringway/events"
)

// findService finds the one a request is about; the empty name means the only one.
func findService(s *cluster.State, name string) (events.Service, error) {
	if name == "" && len(s.Services) == 1 {
		name = slices.Sorted(maps.Keys(s.Services))[0]
	}
	svc, ok := s.Services[name]
	switch {
	case ok:
		return svc.Value, nil
	case len(s.Services) == 0:
		return events.Service{}, events.StatusErrorf(http.StatusServiceUnavailable, "there is no service yet; try again in a moment")
	case name == "":
		return events.Service{}, events.StatusErrorf(http.StatusBadRequest, "service is missing; name one of %s", strings.Join(slices.Sorted(maps.Keys(s.Services)), ", "))
	}
	return events.Service{}, events.StatusErrorf(http.StatusNotFound, "service '%s' does not exist; there are %s", name, strings.Join(slices.Sorted(maps.Keys(s.Services)), ", "))
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

func checkAdd(s *cluster.State, svc events.Service, req events.ScaleRequest, mayWait bool) error {
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
		case !cluster.NameTaken(s, svc, name):
		case mayWait && cluster.NameBecomesFree(s, svc, name):
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

func checkRemove(s *cluster.State, svc events.Service, req events.ScaleRequest) error {
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
		if !cluster.IsReplica(svc, name) {
			return events.StatusErrorf(http.StatusBadRequest, "hostnames: '%s' is not a replica%s", name, serverHint(s, name))
		}
	}
	return nil
}

// unstorable refuses a change that a controller could not read after a restart.
func unstorable(svc events.Service) error {
	if err := svc.Validate(); err != nil {
		return events.StatusErrorf(http.StatusBadRequest, "service '%s': %s", svc.Spec.Name, err)
	}
	return nil
}

// serverHint is how a name that is no replica's is removed, if it is a shard
// server's.
func serverHint(s *cluster.State, name string) string {
	for _, table := range slices.Sorted(maps.Keys(s.Tables)) {
		if _, ok := cluster.ServerOf(s.Tables[table].Value, name); ok {
			which := ""
			if len(s.Tables) > 1 {
				which = fmt.Sprintf(`"table":%q,`, table)
			}
			return fmt.Sprintf(` but a database server of table %s; DELETE /rm {%s"n":1,"servers":[%q]} removes it`, table, which, name)
		}
	}
	return ""
}
