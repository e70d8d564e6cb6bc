// node-gate is the last CNI plugin of a new pod: it tells the node's agent (policy.go) the pod's address and returns when
// the pod's network policies are in place. Without it a pod would be open from its first moment until its address had come
// round through kubelet and the API server, and a test that something is denied would pass or fail by luck.
// An agent that does not answer keeps pods from starting: kubelet tries again.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	socketPath = "/run/node-network/gate.sock" // policy.go listens here
	patience   = 30 * time.Second              // at a node's start pods may come before the agent
)

type config struct {
	CNIVersion string          `json:"cniVersion"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func main() {
	var err error
	switch command := os.Getenv("CNI_COMMAND"); command {
	case "VERSION":
		fmt.Println(`{"cniVersion": "0.3.1", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}`)
	case "ADD":
		err = add(os.Stdin, os.Stdout, os.Getenv("CNI_ARGS"))
	case "DEL", "CHECK", "GC", "STATUS": // nothing of a pod is kept here
	default:
		err = fmt.Errorf("unknown CNI_COMMAND %q", command)
	}
	if err != nil {
		// 11: "try again later", in CNI's words
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "0.3.1", "code": 11, "msg": "node-gate: " + err.Error()})
		os.Exit(1)
	}
}

func add(in io.Reader, out io.Writer, arguments string) error {
	var c config
	if err := json.NewDecoder(in).Decode(&c); err != nil {
		return err
	}
	var result struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(c.PrevResult, &result); err != nil || len(result.IPs) == 0 {
		return fmt.Errorf("no address from the plugin before: %s", c.PrevResult)
	}
	address, _, _ := strings.Cut(result.IPs[0].Address, "/")
	uid := ""
	for _, argument := range strings.Split(arguments, ";") {
		if value, ok := strings.CutPrefix(argument, "K8S_POD_UID="); ok {
			uid = value
		}
	}
	if uid != "" { // a container that is no pod's has no policies
		if err := ask(uid, address); err != nil {
			return err
		}
	}
	_, err := out.Write(c.PrevResult)
	return err
}

func ask(uid, address string) error {
	deadline := time.Now().Add(patience)
	var connection net.Conn
	for {
		var err error
		if connection, err = net.Dial("unix", socketPath); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	defer connection.Close()
	_ = connection.SetDeadline(deadline)
	if _, err := fmt.Fprintln(connection, uid, address); err != nil {
		return err
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer from the node's agent: %w", err)
	}
	if answer != "ok\n" {
		return fmt.Errorf("the node's agent says: %s", strings.TrimSpace(answer))
	}
	return nil
}
