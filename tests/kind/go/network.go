package main

// The pod network of one node: its CNI configuration, routes to the other nodes' pods, masquerading of what leaves
// the pod network, and network policies (policy.go). It stands in for the network agent of kind's own node image,
// which comes as a container image only. All nodes share one Docker network, so plain routes reach every pod. IPv4 only.

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	cniPath = "/etc/cni/net.d/10-node-network.conflist"
	// A veth pair per pod (ptp), an address out of this node's pod range, host ports, and no start before the policies.
	cniConfig = `{"cniVersion": "0.3.1", "name": "node-network", "plugins": [
  {"type": "ptp", "mtu": %d, "ipam": {"type": "host-local", "dataDir": "/run/node-network",
    "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "node-gate"}]}
`
	masqueradeChain = "NODE-MASQUERADE"
)

func runNetwork(ctx context.Context) error {
	node, podSubnet := os.Getenv("NODE_NAME"), os.Getenv("POD_SUBNET")
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := masquerade(podSubnet); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes, policies := factory.Core().V1().Nodes(), newPolicies(factory, node)
	go onChange(ctx, factory, policies.sync, policies.informers...)
	go func() { // without the gate no pod starts: better to end, and be started again
		klog.ErrorS(policies.serveGate(ctx), "the gate for new pods ended")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}()
	onChange(ctx, factory, func() error {
		all, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		return syncNodes(all, node)
	}, nodes.Informer())
	return ctx.Err()
}

// onChange calls sync when the caches are filled, and again after every change in them, until ctx ends.
func onChange(ctx context.Context, factory informers.SharedInformerFactory, sync func() error, watched ...cache.SharedIndexInformer) {
	dirty := make(chan struct{}, 1)
	mark := func() {
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
	for _, informer := range watched {
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { mark() }, UpdateFunc: func(_, _ any) { mark() }, DeleteFunc: func(any) { mark() },
		})
	}
	factory.Start(ctx.Done())
	for _, informer := range watched {
		cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	}
	for mark(); ; {
		select {
		case <-ctx.Done():
			return
		case <-dirty:
			time.Sleep(100 * time.Millisecond) // gather a burst of changes
		}
		if err := sync(); err != nil {
			klog.ErrorS(err, "will try again")
			time.AfterFunc(time.Second, mark)
		}
	}
}

func syncNodes(nodes []*v1.Node, self string) error {
	for _, node := range nodes {
		if node.Spec.PodCIDR == "" {
			continue // not yet given one; that will be a change
		}
		if node.Name == self {
			if err := writeCNIConfig(node.Spec.PodCIDR); err != nil {
				return err
			}
			continue
		}
		for _, address := range node.Status.Addresses {
			if address.Type == v1.NodeInternalIP && net.ParseIP(address.Address).To4() != nil {
				if err := command("ip", "route", "replace", node.Spec.PodCIDR, "via", address.Address); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func writeCNIConfig(podCIDR string) error {
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	config := fmt.Sprintf(cniConfig, eth0.MTU, podCIDR)
	if old, err := os.ReadFile(cniPath); err == nil && string(old) == config {
		return nil
	}
	// containerd watches the folder: it must never see half a file
	temporary := filepath.Join(filepath.Dir(cniPath), ".new")
	if err := os.WriteFile(temporary, []byte(config), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, cniPath)
}

// masquerade gives what pods send out of the pod network the node's address.
func masquerade(podSubnet string) error {
	_ = iptables("nat", "-N", masqueradeChain) // may be there already
	for _, rule := range []string{
		masqueradeChain + " -d " + podSubnet + " -j RETURN",
		masqueradeChain + " -j MASQUERADE",
		"POSTROUTING -s " + podSubnet + " -m addrtype ! --dst-type LOCAL -j " + masqueradeChain,
	} {
		if iptables("nat", append([]string{"-C"}, strings.Fields(rule)...)...) == nil {
			continue
		}
		if err := iptables("nat", append([]string{"-A"}, strings.Fields(rule)...)...); err != nil {
			return err
		}
	}
	// What is sent to a pod address that no node owns ends here, and does not leave by the default route.
	return command("ip", "route", "replace", "unreachable", podSubnet, "metric", "4000000000")
}

func iptables(table string, args ...string) error {
	return command("iptables", append([]string{"-w", "-t", table}, args...)...)
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
