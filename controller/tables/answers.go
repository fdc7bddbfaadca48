package tables

import (
	"maps"
	"net/http"
	"slices"

	"ringway/controller/cluster"
	"ringway/events"
)

func reason(request string) string {
	if request == "" {
		return ""
	}
	return "request " + request
}

// findTable finds the table that a request is about; the empty name means the only
// one.
func findTable(s *cluster.State, table string) (events.Database, error) {
	if table == "" && len(s.Tables) == 1 {
		table = slices.Sorted(maps.Keys(s.Tables))[0]
	}
	db, ok := s.Tables[table]
	switch {
	case ok:
		return db.Value, nil
	case len(s.Tables) == 0:
		return events.Database{}, events.StatusErrorf(http.StatusBadRequest, "no database is configured; use /init first")
	case table == "":
		return events.Database{}, events.StatusErrorf(http.StatusBadRequest, "table is missing; there are %v", slices.Sorted(maps.Keys(s.Tables)))
	}
	return events.Database{}, events.StatusErrorf(http.StatusNotFound, "table '%s' does not exist; there are %v", table, slices.Sorted(maps.Keys(s.Tables)))
}

func serverIDs(db events.Database, names []string) (ids []int) {
	for _, srv := range db.Servers {
		if slices.Contains(names, srv.Name) {
			ids = append(ids, srv.ID)
		}
	}
	return ids
}

// serversReply names the servers of a request as they are called now.
func serversReply(s *cluster.State, r *Request) any {
	db := s.Tables[r.table].Value
	reply := events.ServersReply{Table: r.table, N: len(db.Servers), Removed: r.removed}
	for _, srv := range db.Servers {
		if r.has(srv) {
			reply.Added = append(reply.Added, srv.Name)
		}
	}
	if route, ok := s.TableRoutes[r.table]; ok {
		reply.Epoch = route.Version
	}
	return reply
}

// has reports whether a server is one that the request is about, or its
// replacement.
func (r *Request) has(srv events.ShardServer) bool {
	return r.id != "" && srv.Request == r.id || slices.Contains(r.ids, srv.ID)
}
