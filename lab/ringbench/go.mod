module ringway/lab/ringbench

go 1.26.0

replace ringway => ../..

require (
	github.com/buraksezer/consistent v0.10.0
	github.com/serialx/hashring v0.0.0-20200727003509-22c0c7ab6b1b
	github.com/zeebo/xxh3 v1.1.0
	ringway v0.0.0
	stathat.com/c/consistent v1.0.0
)

require (
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
