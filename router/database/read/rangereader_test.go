package read

import (
	"context"
	"testing"

	"github.com/valyala/fasthttp"

	"ringway/router/database/background"
)

// Whatever is held when streaming begins, nothing of the answer is lost.
func TestStream_IsWholeWhereverItIsCut(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	group, running, ended := &background.Group{}, make(chan struct{}), make(chan struct{})
	go func() { group.Run(ctx, func() { close(running) }); close(ended) }()
	<-running
	const want = `{[1,2,3,4]}`
	for hold := range len(want) + 1 {
		r := &Reader{cfg: Config{Hold: hold, Ahead: 2}, group: group}
		var request fasthttp.RequestCtx
		err := r.stream(&request, func() *rangeReader {
			pieces := []piece{{text: []byte("{[")}}
			for _, rows := range []string{"1,2", "", "3,4"} {
				s := r.newScan(nil, 0, 0, 0, nil)
				s.rows, s.ended, s.started = []byte(rows), true, true
				pieces = append(pieces, piece{scan: s})
			}
			return &rangeReader{pieces: append(pieces, piece{text: []byte("]}")})}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(request.Response.Body()); got != want {
			t.Errorf("%d bytes are held: got %s, want %s", hold, got, want)
		}
	}
	stop()
	<-ended
}
