package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does what it does by default: it ends the process
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
