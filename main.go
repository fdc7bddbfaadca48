// Command ringway keeps a fleet of HTTP replicas running and routes to them.
package main

func main() {}
