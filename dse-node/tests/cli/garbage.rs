//! Whoever can reach a port can send it anything: the node goes on serving.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use crate::support::{Node, Place};

/// Random bytes (from a small generator, the same in each run), a ZeroMQ greeting that
/// stops half way, an HTTP request.
fn inputs() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    let greeting = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3][..], &[0; 20]].concat();
    vec![
        random.take(4096).collect(),
        greeting,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 1200],
    ]
}

fn address(node: &Node) -> SocketAddr {
    let (_, address) = node.endpoints[0].split_once("://").expect("a URL");
    address.parse().expect("an address")
}

fn still_serves(place: &Place) {
    let listing = place.json(&["ls", "--json"]);
    assert_eq!(listing["declarations"].as_array().map(Vec::len), Some(1), "{listing}");
}

#[test]
fn quic_goes_on_serving() {
    let place = Place::new("quic");
    let node = place.node("a", &["--value", "x=1"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    for input in inputs() {
        for part in input.chunks(1200) {
            socket.send_to(part, address(&node)).expect("sent");
        }
    }
    still_serves(&place);
}

#[test]
fn zmq_on_tcp_goes_on_serving_and_says_what_it_refused() {
    let place = Place::new("zmq");
    let mut node = place.node("a", &["--listen", "zmq://127.0.0.1:0", "--value", "x=1"]);
    let mut open = Vec::new();
    for input in inputs() {
        let mut stream = TcpStream::connect(address(&node)).expect("connected");
        // The node may close in the middle.
        let _ = stream.write_all(&input);
        open.push(stream);
    }
    still_serves(&place);
    node.running.says("refused");
}

#[test]
fn zmq_on_ipc_goes_on_serving() {
    let place = Place::new("zmq");
    let node = place.node("a", &["--value", "x=1"]);
    let name = node.endpoints[0].strip_prefix("zmq://ipc/").expect("an ipc endpoint");
    let path = place.path("run/default.bus").join(name);
    let mut open = Vec::new();
    for input in inputs() {
        let mut stream = UnixStream::connect(&path).expect("connected");
        // The node may close in the middle.
        let _ = stream.write_all(&input);
        open.push(stream);
    }
    still_serves(&place);
}
