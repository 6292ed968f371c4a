package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/hibiken/asynqmon"
)

// web prints the URL of the REST API.
func web(address string) error {
	handler := asynqmon.New(asynqmon.Options{RedisConnOpt: connection(address)})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/api\n", listener.Addr())
	go func() { _ = http.Serve(listener, handler) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return handler.Close()
}
