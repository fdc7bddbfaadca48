// Package answer writes what a router itself answers to clients, in the form of
// the assignments.
package answer

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/valyala/fasthttp"
)

// Status words of the assignments.
const (
	Success    = "success"
	Successful = "successful"
	Failure    = "failure"
)

// JSON answers with body, which must not change any more.
func JSON(ctx *fasthttp.RequestCtx, code int, body []byte) {
	ctx.Response.Header.SetNoDefaultContentType(false)
	ctx.Response.SetStatusCode(code)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBodyRaw(body)
}

// Value answers 200 with v.
func Value(ctx *fasthttp.RequestCtx, v any) { JSON(ctx, http.StatusOK, Marshal(v)) }

// Replicas is the answer to /rep, /add and /rm.
func Replicas(names []string) []byte {
	type message struct {
		N        int      `json:"N"`
		Replicas []string `json:"replicas"`
	}
	if names == nil {
		names = []string{}
	}
	return Marshal(struct {
		Message message `json:"message"`
		Status  string  `json:"status"`
	}{message{len(names), names}, Successful})
}

// DoneBody is a message that needs no escape, of success.
func DoneBody(message string) []byte {
	body := append(make([]byte, 0, len(message)+40), `{"message":"`...)
	return append(append(body, message...), `","status":"`+Success+`"}`...)
}

// Fail answers with an error.
func Fail(ctx *fasthttp.RequestCtx, code int, why string) {
	ctx.Response.Reset() // a half answer may be in it
	JSON(ctx, code, Marshal(struct {
		Message string `json:"message"`
		Status  string `json:"status"`
	}{Message(why), Failure}))
	if code == http.StatusServiceUnavailable {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1") // a client may wait it out
	}
}

// Message is an error as the assignments spell it.
func Message(why string) string { return "<Error> " + why }

// NotAllowed names the methods to use.
func NotAllowed(ctx *fasthttp.RequestCtx, allow string) {
	Fail(ctx, http.StatusMethodNotAllowed, "use "+allow)
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
}

// Marshal writes v with <, > and & as they are: the assignments spell "<Error>".
func Marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("BUG: answer cannot be JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
