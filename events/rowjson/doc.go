// Package rowjson is rows and values as JSON: one reader and one writer for all
// who need one, logs, results, requests and answers. It imports only the
// standard library; keep it that way.
package rowjson
