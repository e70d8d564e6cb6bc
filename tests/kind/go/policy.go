package main

// NetworkPolicy for the pods of one node, as iptables rules on their addresses.
//
// A pod under a policy has a chain for each direction: what some rule allows returns from it, the end drops. Packets
// are seen after the service's DNAT and without masquerade, so both ends are pod addresses. The rules are in the mangle
// table, which comes before the filter table whatever order kube-proxy's own rules there have. What the node sends to
// its own pods (kubelet's probes) is in OUTPUT and thus always allowed, as Kubernetes wants. A new pod's address comes from
// its last CNI plugin (gate/), which lets the pod start only when the rules are there: no pod is ever open by accident.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	policyChain = "NODE-POLICY"
	podChain    = "NODE-POD-" // one for each pod and direction
	gateSocket  = "/run/node-network/gate.sock"
)

type policies struct {
	node       string
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   netlisters.NetworkPolicyLister
	informers  []cache.SharedIndexInformer

	mutex    sync.Mutex // sync is called for changes and by the gate
	applied  string
	starting map[string]starting // by the pod's UID: addresses that the API server may not know yet
	known    map[string]bool     // UIDs of the pods that the rules in place know
}

type starting struct {
	address string
	since   time.Time
}

func newPolicies(factory informers.SharedInformerFactory, node string) *policies {
	pods, namespaces, rules := factory.Core().V1().Pods(), factory.Core().V1().Namespaces(), factory.Networking().V1().NetworkPolicies()
	return &policies{
		node: node, pods: pods.Lister(), namespaces: namespaces.Lister(), policies: rules.Lister(),
		informers: []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), rules.Informer()},
		starting:  map[string]starting{},
	}
}

// serveGate answers the CNI plugin of each new pod (gate/): a line with UID and address in, "ok" out when its rules are in place.
func (p *policies) serveGate(ctx context.Context) error {
	for _, informer := range p.informers {
		cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	}
	_ = os.Remove(gateSocket) // of an agent before this one
	listener, err := net.Listen("unix", gateSocket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
			line, _ := bufio.NewReader(connection).ReadString('\n')
			uid, address, _ := strings.Cut(strings.TrimSpace(line), " ")
			if err := p.admit(uid, address); err != nil {
				fmt.Fprintln(connection, err)
				return
			}
			fmt.Fprintln(connection, "ok")
		}()
	}
}

// admit puts the rules of a new pod in place. kubelet may know the pod a moment before the cache here does.
func (p *policies) admit(uid, address string) error {
	if _, err := netip.ParseAddr(address); err != nil {
		return err
	}
	p.mutex.Lock()
	p.starting[uid] = starting{address, time.Now()}
	p.mutex.Unlock()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := p.sync()
		p.mutex.Lock()
		known := p.known[uid]
		p.mutex.Unlock()
		switch {
		case err == nil && known:
			return nil
		case time.Now().After(deadline) && err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("pod %s is not on this node", uid)
		}
	}
}

// addressed are the pods that have an address of their own, with that which is in use now. Copies: the cache's are not ours.
func (p *policies) addressed(listed []*v1.Pod) []*v1.Pod {
	var out []*v1.Pod
	there := map[string]bool{}
	for _, pod := range listed {
		uid := string(pod.UID)
		there[uid] = true
		if pod.Spec.HostNetwork || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue // on the host's network, or finished
		}
		if told, ok := p.starting[uid]; ok && told.address != pod.Status.PodIP {
			pod = pod.DeepCopy()
			pod.Status.PodIP = told.address
		} else {
			delete(p.starting, uid) // the API server knows it by now
		}
		if pod.Status.PodIP != "" {
			out = append(out, pod)
		}
	}
	for uid, told := range p.starting { // pods that are gone, not those that the cache does not know yet
		if !there[uid] && time.Since(told.since) > time.Minute {
			delete(p.starting, uid)
		}
	}
	return out
}

// chains is what iptables should hold: the rules of each chain, without the chain's name.
type chains map[string][]string

func (c chains) add(chain, format string, args ...any) {
	c[chain] = append(c[chain], fmt.Sprintf(format, args...))
}

// direction is one side of a policy: everything that differs between ingress and egress.
type direction struct {
	kind       netv1.PolicyType
	self, peer string // how iptables names the policy's pod and the other end
}

var directions = []direction{
	{netv1.PolicyTypeEgress, "-s", "-d"},
	{netv1.PolicyTypeIngress, "-d", "-s"},
}

func (p *policies) sync() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all, err := p.policies.List(labels.Everything())
	if err != nil {
		return err
	}
	listed, err := p.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	pods := p.addressed(listed)
	// the same objects give the same bytes, so that nothing is written when nothing changed
	slices.SortFunc(pods, func(a, b *v1.Pod) int { return strings.Compare(string(a.UID), string(b.UID)) })
	slices.SortFunc(all, func(a, b *netv1.NetworkPolicy) int { return strings.Compare(string(a.UID), string(b.UID)) })

	want := chains{}
	want.add(policyChain, "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN")
	for _, pod := range pods {
		if pod.Spec.NodeName != p.node {
			continue
		}
		for _, way := range directions {
			chain := podChain + hash(string(pod.UID), string(way.kind))
			limited := false
			for _, policy := range all {
				if policy.Namespace != pod.Namespace || !matches(&policy.Spec.PodSelector, pod.Labels) || !slices.Contains(policy.Spec.PolicyTypes, way.kind) {
					continue
				}
				if !limited { // a pod may always reach itself, also by its service
					want.add(chain, "%s %s -j RETURN", way.peer, pod.Status.PodIP)
				}
				limited = true
				if way.kind == netv1.PolicyTypeIngress {
					for _, rule := range policy.Spec.Ingress {
						p.allow(want, chain, way, pod, pods, rule.From, rule.Ports)
					}
				} else {
					for _, rule := range policy.Spec.Egress {
						p.allow(want, chain, way, pod, pods, rule.To, rule.Ports)
					}
				}
			}
			if limited {
				want.add(chain, "-j DROP")
				want.add(policyChain, "%s %s -j %s", way.self, pod.Status.PodIP, chain)
			}
		}
	}
	if err := p.apply(want); err != nil {
		return err
	}
	p.known = map[string]bool{}
	for _, pod := range pods {
		p.known[string(pod.UID)] = true
	}
	return nil
}

// allow adds one rule of one policy to the chain of one pod.
func (p *policies) allow(want chains, chain string, way direction, self *v1.Pod, pods []*v1.Pod, peers []netv1.NetworkPolicyPeer, ports []netv1.NetworkPolicyPort) {
	allowPeer := func(address string, peer *v1.Pod) {
		server := peer // whose ports they are, when they go by name; nil: no pod
		if way.kind == netv1.PolicyTypeIngress {
			server = self
		}
		for _, port := range portMatches(ports, server) {
			want.add(chain, "%s %s%s -j RETURN", way.peer, address, port)
		}
	}
	if len(peers) == 0 {
		allowPeer("0.0.0.0/0", nil)
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			for _, block := range blocks(peer.IPBlock) {
				allowPeer(block.String(), nil)
			}
			continue
		}
		for _, pod := range pods {
			if p.selects(peer, self.Namespace, pod) {
				allowPeer(pod.Status.PodIP, pod)
			}
		}
	}
}

func (p *policies) selects(peer netv1.NetworkPolicyPeer, namespace string, pod *v1.Pod) bool {
	if peer.NamespaceSelector == nil && pod.Namespace != namespace {
		return false
	}
	if peer.NamespaceSelector != nil {
		of, err := p.namespaces.Get(pod.Namespace)
		if err != nil || !matches(peer.NamespaceSelector, of.Labels) {
			return false
		}
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)
}

// portMatches are the iptables matches, any of which will do. No ports at all mean every port.
func portMatches(ports []netv1.NetworkPolicyPort, server *v1.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var out []string
	for _, port := range ports {
		protocol := v1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		match := " -p " + strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			out = append(out, match)
		case port.Port.Type == intstr.Int && port.EndPort != nil:
			out = append(out, fmt.Sprintf("%s --dport %d:%d", match, port.Port.IntVal, *port.EndPort))
		case port.Port.Type == intstr.Int:
			out = append(out, fmt.Sprintf("%s --dport %d", match, port.Port.IntVal))
		case server != nil:
			for _, container := range server.Spec.Containers {
				for _, named := range container.Ports {
					if named.Name == port.Port.StrVal && named.Protocol == protocol {
						out = append(out, fmt.Sprintf("%s --dport %d", match, named.ContainerPort))
					}
				}
			}
		}
	}
	return out
}

// blocks are the parts of an IPv4 block that no exception takes away.
func blocks(b *netv1.IPBlock) []netip.Prefix {
	block, err := netip.ParsePrefix(b.CIDR)
	if err != nil || !block.Addr().Is4() {
		return nil
	}
	var except []netip.Prefix
	for _, cidr := range b.Except {
		if e, err := netip.ParsePrefix(cidr); err == nil {
			except = append(except, e.Masked())
		}
	}
	return without(block.Masked(), except)
}

// without halves the block until each part is either free of exceptions or within one.
func without(block netip.Prefix, except []netip.Prefix) []netip.Prefix {
	for _, e := range except {
		switch {
		case !block.Overlaps(e):
		case e.Bits() <= block.Bits():
			return nil
		default:
			upper := block.Addr().As4()
			upper[block.Bits()/8] |= 0x80 >> (block.Bits() % 8)
			return append(without(netip.PrefixFrom(block.Addr(), block.Bits()+1), except),
				without(netip.PrefixFrom(netip.AddrFrom4(upper), block.Bits()+1), except)...)
		}
	}
	return []netip.Prefix{block}
}

// apply replaces all chains at once, then sees that packets come by.
func (p *policies) apply(want chains) error {
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	var table bytes.Buffer
	table.WriteString("*mangle\n")
	for _, name := range names {
		fmt.Fprintf(&table, ":%s - [0:0]\n", name) // made, or emptied
	}
	for _, name := range names {
		for _, rule := range want[name] {
			fmt.Fprintf(&table, "-A %s %s\n", name, rule)
		}
	}
	wanted := table.String()
	if wanted == p.applied {
		return nil
	}
	for _, name := range stale(want) {
		fmt.Fprintf(&table, ":%s - [0:0]\n-X %s\n", name, name)
	}
	table.WriteString("COMMIT\n")
	restore := exec.Command("iptables-restore", "-w", "--noflush")
	restore.Stdin = &table
	if out, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s\n%s", err, out, wanted)
	}
	for _, hook := range []string{"FORWARD", "INPUT"} { // INPUT: from a pod to its own node
		if iptables("mangle", "-C", hook, "-j", policyChain) != nil {
			if err := iptables("mangle", "-I", hook, "-j", policyChain); err != nil {
				return err
			}
		}
	}
	p.applied = wanted
	return nil
}

// stale are the pod chains of before that nobody wants any more.
func stale(want chains) []string {
	out, _ := exec.Command("iptables", "-w", "-t", "mangle", "-S").Output()
	var names []string
	for _, line := range strings.Split(string(out), "\n") {
		if name, ok := strings.CutPrefix(line, "-N "+podChain); ok && want[podChain+name] == nil {
			names = append(names, podChain+name)
		}
	}
	return names
}

func matches(s *metav1.LabelSelector, of map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(of))
}

// hash fits a name into iptables' 28 characters.
func hash(parts ...string) string {
	h := fnv.New64a()
	fmt.Fprint(h, strings.Join(parts, "/"))
	return fmt.Sprintf("%016x", h.Sum64())
}
