package main
import "os"
func main() {
	switch os.Args[1] {
	case "baseline": if err := baseline(os.Args[2:], os.Stdin); err != nil { panic(err) }
	case "load": if err := generate(os.Args[2:], os.Stdin, os.Stdout); err != nil { panic(err) }
	}
}
