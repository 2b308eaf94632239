# Run in a container: of iptables each match and target that is carried, behind what lets its connections go on.
# Policies drop: only what rules let pass gets through, and only what began with a SYN.
set -e
for tables in iptables ip6tables; do
    for chain in INPUT OUTPUT; do
        $tables -A $chain -m conntrack --ctstate ESTABLISHED,RELATED -m comment --comment "goes on, after a move" -j ACCEPT
    done
    $tables -A INPUT -p tcp --syn -m multiport --dports 7000:7001,22 -m conntrack --ctstate NEW -m limit --limit 50/s -j ACCEPT
    $tables -t nat -A PREROUTING -p tcp --dport 7001 -j REDIRECT --to-ports 7000
    for table in mangle raw; do
        $tables -t $table -A PREROUTING -m mark --mark 0 -j ACCEPT
    done
    $tables -t mangle -A POSTROUTING -m mark --mark 0 -j ACCEPT
    $tables -t nat -A POSTROUTING -m mark --mark 0 -j ACCEPT
done
iptables -A INPUT -p icmp -j ACCEPT
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
ip6tables -A OUTPUT -p ipv6-icmp -j ACCEPT
iptables -N aside
iptables -A INPUT -m addrtype --src-type LOCAL -j ACCEPT
iptables -A INPUT -p ah -m ah --ahspi 5
iptables -A INPUT -m connbytes --connbytes 10:100 --connbytes-dir both --connbytes-mode bytes
iptables -A INPUT -m connlabel --label 5
iptables -A INPUT -p tcp --syn -m connlimit --connlimit-above 3 -j REJECT
iptables -A INPUT -m connmark --mark 5/7
iptables -A INPUT -m cpu --cpu 1
iptables -A INPUT -p dccp -m dccp --dport 5
iptables -A INPUT -m devgroup --src-group 5
iptables -A INPUT -m dscp --dscp 5
iptables -A INPUT -p tcp -m ecn --ecn-tcp-cwr
iptables -A INPUT -p esp -m esp --espspi 5
iptables -A INPUT -m hashlimit --hashlimit-name a --hashlimit-above 5/sec --hashlimit-mode srcip,dstport -j DROP
iptables -A INPUT -m helper --helper ftp
iptables -t mangle -A INPUT -m ttl --ttl-lt 5
ip6tables -t mangle -A INPUT -m hl --hl-lt 5
iptables -A INPUT -p icmp --icmp-type 8
iptables -A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9
iptables -A INPUT -p ipcomp -m ipcomp --ipcompspi 5
iptables -A INPUT -m length --length 10:100
iptables -A INPUT -m mac --mac-source 02:00:00:00:00:01
iptables -A INPUT -m mark ! --mark 5
iptables -A INPUT -p udp -m multiport --ports 5,6:9
iptables -A OUTPUT -m owner --uid-owner 100-200 --gid-owner 5 -j DROP
iptables -A OUTPUT -m owner --socket-exists
iptables -A INPUT -m physdev --physdev-in eth0
iptables -A INPUT -m pkttype --pkt-type broadcast
iptables -A INPUT -m policy --dir in --pol none
iptables -A INPUT -m realm --realm 5
iptables -t raw -A PREROUTING -m rpfilter --invert -j DROP
iptables -A INPUT -p sctp -m sctp --dport 5 --chunk-types any INIT
iptables -t mangle -A PREROUTING -m socket --transparent
iptables -A INPUT -m state --state NEW
iptables -A INPUT -m statistic --mode random --probability 0.5
iptables -A INPUT -m statistic --mode nth --every 5 --packet 2
iptables -A INPUT -m string --algo bm --string hello
iptables -A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN --dport 5:9 --sport 1
iptables -A INPUT -p tcp -m tcpmss --mss 5:9
iptables -A INPUT -m time --timestart 10:00 --timestop 11:00 --weekdays Mon,Fri
iptables -A INPUT -m tos --tos 8
iptables -A INPUT -m u32 --u32 "0&0xFFFF=0x100:0xFFFF"
iptables -A INPUT -p udp --dport 5 --sport 6
iptables -A INPUT ! -p udp -m length --length 5
ip6tables -A INPUT -m eui64
ip6tables -A INPUT -m frag --fragid 5
ip6tables -A INPUT -m hbh --hbh-len 8
ip6tables -A INPUT -m dst --dst-len 8
ip6tables -A INPUT -m ipv6header --header hop
ip6tables -A INPUT -p ipv6-mh -m mh --mh-type 5
ip6tables -A INPUT -m rt --rt-type 0
ip6tables -A INPUT -p tcp --dport 5 -m conntrack --ctstate NEW -m hashlimit --hashlimit-upto 5/min --hashlimit-name b -j ACCEPT
ip6tables -A INPUT -p udp -j REJECT --reject-with icmp6-adm-prohibited
iptables -A INPUT -j AUDIT --type drop
iptables -t mangle -A POSTROUTING -p udp -j CHECKSUM --checksum-fill
iptables -t mangle -A POSTROUTING -j CLASSIFY --set-class 1:5
iptables -t mangle -A PREROUTING -j CONNMARK --set-xmark 5/7
iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark
iptables -t raw -A PREROUTING -p tcp --dport 21 -j CT --notrack
iptables -t raw -A PREROUTING -j CT --zone 5
iptables -t nat -A PREROUTING -p tcp --dport 5 -j DNAT --to-destination 10.0.0.5:80-90
iptables -t mangle -A PREROUTING -j DSCP --set-dscp 5
iptables -t mangle -A PREROUTING -p tcp -j ECN --ecn-tcp-remove
ip6tables -t mangle -A PREROUTING -p udp -j HL --hl-set 5
iptables -t mangle -A PREROUTING -j HMARK --hmark-tuple src --hmark-mod 5 --hmark-rnd 7
iptables -A INPUT -j LOG --log-level 5 --log-prefix x
iptables -t mangle -A PREROUTING -j MARK --set-xmark 5/7
iptables -t nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 5-9 --random
iptables -t nat -A PREROUTING -d 10.0.0.0/24 -j NETMAP --to 10.1.0.0/24
iptables -A INPUT -j NFLOG --nflog-group 5 --nflog-prefix y
iptables -A INPUT -j NFQUEUE --queue-num 5 --queue-bypass
iptables -t nat -A POSTROUTING -j SNAT --to-source 10.0.0.5-10.0.0.9 --persistent
iptables -t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
iptables -t mangle -A FORWARD -p tcp -j TCPOPTSTRIP --strip-options 5
iptables -t mangle -A PREROUTING -j TOS --set-tos 8
iptables -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 5
iptables -t raw -A PREROUTING -p tcp -j TRACE
iptables -t mangle -A PREROUTING -p udp -j TTL --ttl-dec 1
ip6tables -t nat -A POSTROUTING -j SNAT --to-source fd00::5
ip6tables -t nat -A PREROUTING -p tcp --dport 5 -j DNAT --to-destination [fd00::5]:80
ip6tables -t nat -A PREROUTING -p tcp --dport 6 -j REDIRECT --to-ports 80
iptables -A INPUT -p tcp -m tcp --dport 5 -j SYNPROXY --mss 5
iptables -A INPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 5
arptables -A INPUT -s 10.0.0.1 -j DROP
arptables -A OUTPUT -j mangle --mangle-ip-s 10.0.0.7
iptables -A INPUT -i eth0 -s 10.0.0.0/24 ! -d 10.9.0.0/16 -f -g aside
iptables -A FORWARD -p 47 -i eth+ ! -o lo
iptables -t mangle -A PREROUTING -j TEE --gateway 10.9.0.7
for tables in iptables ip6tables; do
    for chain in INPUT OUTPUT FORWARD; do
        $tables -P $chain DROP
    done
done
arptables -I INPUT -j ACCEPT
arptables -I OUTPUT -j ACCEPT
