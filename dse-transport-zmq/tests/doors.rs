//! Who gets in, who does not, and what each is told.
#![allow(missing_docs)]

mod support;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dse_core::transport::{Link, Listener, Transport, TransportError};
use dse_transport_zmq::{ZmqConfig, ZmqTransport};
use support::{Folder, endpoint, recv_control, send_control, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeromq::{PubSocket, Socket, SocketRecv, SocketSend, SubSocket, XPubSocket};

/// Links to a door while it reports refusals.
async fn link_despite(transport: &ZmqTransport, door: &mut dyn Listener) -> (Link, Link) {
    let at = door.endpoints()[0].clone();
    let accepting = async {
        loop {
            if let Ok(link) = door.accept().await {
                return link;
            }
        }
    };
    let (dialled, accepted) =
        soon("a link", async { tokio::join!(transport.connect(&at), accepting) }).await;
    (dialled.expect("connect"), accepted)
}

fn refused(outcome: Result<Link, TransportError>) -> String {
    let Err(TransportError::Refused { peer, why }) = outcome else {
        panic!("a refusal, not {outcome:?}");
    };
    assert!(peer.starts_with("zmq://127.0.0.1:"), "{peer}");
    why
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_by_name_and_stop_nobody() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://127.0.0.1:0")).await.unwrap();
    let at = door.endpoints()[0].address().to_owned();
    let greeting = [b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".as_slice(), &[0; 48]].concat();
    let terabyte = [greeting.as_slice(), b"\x02", &(1_u64 << 40).to_be_bytes()].concat();
    let strangers: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no ZeroMQ greeting"),
        (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], "no ZeroMQ greeting"),
        (&greeting[..30], "did not greet in time"),
        // The frame that aborts a process whose socket the crate has bound.
        (&terabyte, "1099511627776 bytes"),
    ];
    for (bytes, why) in strangers {
        let mut stranger = TcpStream::connect(&at).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        let told = refused(soon("a refusal", door.accept()).await);
        assert!(told.contains(why), "{told}");
    }
    // One who only looks is not worth a word.
    drop(TcpStream::connect(&at).await.unwrap());
    let (mut near, mut far) = link_despite(&transport, door.as_mut()).await;
    let hi = [Bytes::from_static(b"hi")];
    send_control(&mut near, &hi).await.unwrap();
    assert_eq!(soon("a frame", recv_control(&mut far)).await.unwrap(), hi);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_zeromq_sockets_are_refused() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://127.0.0.1:0")).await.unwrap();
    let at = format!("tcp://{}", door.endpoints()[0].address());
    let mut publisher = PubSocket::new();
    let publish = async {
        publisher.connect(&at).await.unwrap();
        // Its subscription has come once something arrives.
        loop {
            publisher.send("dse/control/ is not for you".into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = publish => {}
        outcome = soon("a refusal", door.accept()) => {
            let why = refused(outcome);
            assert!(why.contains("where a Dial must come"), "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_half_open_strangers_leave_room_for_a_link() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://127.0.0.1:0")).await.unwrap();
    let at = door.endpoints()[0].address().to_owned();
    let mut strangers = Vec::new();
    let knocking = async {
        for _ in 0..200 {
            let mut stranger = TcpStream::connect(&at).await.unwrap();
            stranger.write_all(&[0xff]).await.unwrap();
            strangers.push(stranger);
        }
    };
    tokio::select! {
        () = knocking => {}
        outcome = door.accept() => panic!("{outcome:?}"),
    }
    link_despite(&transport, door.as_mut()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_dialled_back_is_told_so() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://127.0.0.1:0")).await.unwrap();
    let at = door.endpoints()[0].address().to_owned();
    // A Dial with inboxes at port 1, where nobody listens.
    let mut liar = XPubSocket::new();
    let dial = async {
        liar.connect(&format!("tcp://{at}")).await.unwrap();
        liar.recv().await.unwrap();
        let header = [b"dse/control/\x01".as_slice(), &[7; 8], &[0; 8]].concat();
        let dial =
            [&[1_u8][..], &[0; 8], &[0], &1_u64.to_be_bytes(), &1_u64.to_be_bytes()].concat();
        let parts = vec![Bytes::from(header), Bytes::from(dial)];
        liar.send(parts.try_into().unwrap()).await.unwrap();
        liar.recv().await.unwrap()
    };
    let (told, outcome) = soon("a refusal", async { tokio::join!(dial, door.accept()) }).await;
    let why = refused(outcome);
    let told = String::from_utf8(told.into_vec()[0][1..].to_vec()).unwrap();
    assert_eq!(why, told, "both sides know the same");
    assert!(why.contains("cannot connect to tcp://127.0.0.1:1"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_gives_up_is_no_refusal() {
    // As one of two nodes that dial each other does, once they have a link.
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://127.0.0.1:0")).await.unwrap();
    let at = door.endpoints()[0].clone();
    let inboxes = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u64::from(inboxes.local_addr().unwrap().port());
    let visits = async {
        let mut visitor = XPubSocket::new();
        visitor.connect(&format!("tcp://{}", at.address())).await.unwrap();
        visitor.recv().await.unwrap();
        let header = [b"dse/control/\x01".as_slice(), &[7; 8], &[0; 8]].concat();
        let ports = [port.to_be_bytes(), port.to_be_bytes()].concat();
        let dial = [&[1_u8][..], &[0; 8], &[0], &ports].concat();
        let parts = vec![Bytes::from(header), Bytes::from(dial)];
        visitor.send(parts.try_into().unwrap()).await.unwrap();
        let (mut dialled_back, _) = inboxes.accept().await.unwrap();
        drop(visitor);
        // Until the door gives up, too. Its visitor could still be dialled back.
        while !matches!(dialled_back.read(&mut [0; 256]).await, Ok(0) | Err(_)) {}
        drop(inboxes);
        transport.connect(&at).await
    };
    let (near, far) = soon("a link", async { tokio::join!(visits, door.accept()) }).await;
    near.expect("a link");
    far.expect("no refusal before the link");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_listens_but_is_no_node_is_an_error_that_names_it() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint(&format!("zmq://{}", mute.local_addr().unwrap()));
    let error = soon("giving up", transport.connect(&at)).await;
    let error = error.expect_err("nobody answers").to_string();
    assert!(error.contains(at.as_str()) && error.contains("did not greet in time"), "{error}");

    let web = tokio::spawn(async move {
        loop {
            let (mut visitor, _) = mute.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = visitor.read(&mut [0; 64]).await;
                let _ = visitor.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                let _ = visitor.shutdown().await;
            });
        }
    });
    let error = soon("giving up", transport.connect(&at)).await;
    let error = error.expect_err("this is no node").to_string();
    assert!(error.contains(at.as_str()), "{error}");
    web.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_while_it_is_dialled_is_not_waited_for() {
    let folder = Folder::new();
    let transport = folder.transport();
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint(&format!("zmq://{}", listening.local_addr().unwrap()));
    let ends = async { drop(listening.accept().await.unwrap()) };
    let (error, ()) = soon("giving up", async { tokio::join!(transport.connect(&at), ends) }).await;
    let error = error.expect_err("it ended before it greeted").to_string();
    assert!(error.contains("it broke off"), "{error}");

    let mut door = SubSocket::new();
    door.subscribe("dse/control/").await.unwrap();
    let bound = door.bind("tcp://127.0.0.1:0").await.unwrap();
    let at = endpoint(&bound.to_string().replace("tcp:", "zmq:"));
    let ends = async {
        door.recv().await.expect("a Dial");
        drop(door);
    };
    let (error, ()) = soon("giving up", async { tokio::join!(transport.connect(&at), ends) }).await;
    let error = error.expect_err("it ended before it dialled back").to_string();
    assert!(error.contains("it gave up"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_it_takes_the_flag() {
    let folder = Folder::new();
    let transport = folder.transport();
    let Err(error) = transport.bind(&endpoint("zmq://0.0.0.0:0")).await else {
        panic!("a wildcard is not loopback");
    };
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error:?}");
    let error =
        transport.connect(&endpoint("zmq://192.0.2.1:7447")).await.expect_err("not loopback");
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error:?}");

    let trusting =
        ZmqTransport::new(ZmqConfig { runtime_dir: folder.path().to_owned(), trust_network: true });
    let door = trusting.bind(&endpoint("zmq://0.0.0.0:0")).await.unwrap();
    for at in door.endpoints() {
        assert!(!at.address().starts_with("0.0.0.0") && !at.address().ends_with(":0"), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_hosts_are_resolved() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://localhost:0")).await.unwrap();
    let address = door.endpoints()[0].address().to_owned();
    let (_, port) = address.rsplit_once(':').unwrap();
    let at = endpoint(&format!("zmq://localhost:{port}"));
    let both = async { tokio::join!(transport.connect(&at), door.accept()) };
    let (near, far) = soon("a link", both).await;
    assert_eq!(near.unwrap().remote, at.as_str());
    assert!(far.unwrap().remote.starts_with("zmq://"));
}

fn folder_with(mode: u32) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.path().to_owned();
    std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

async fn bind_error(transport: &ZmqTransport, at: &str) -> String {
    match transport.bind(&endpoint(at)).await {
        Err(error @ TransportError::Bind { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("bound {at}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_what_to_do() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = bind_error(&folder.transport(), &format!("zmq://127.0.0.1:{port}")).await;
    assert!(error.contains(&format!("TCP port {port} is in use; choose another")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_dialled_is_told_beforehand() {
    let folder = Folder::new();
    let transport = folder.transport();
    for (at, says) in [
        ("zmq://127.0.0.1:0", "port 0 is only for listening"),
        ("zmq://ipc", "only to listen at"),
        ("zmq://192.0.2.1:7447", "every host on that network is trusted"),
        ("zmq://127.0.0.1", "the port is missing"),
    ] {
        let error = transport.check_dial(&endpoint(at)).expect_err(at).to_string();
        assert!(error.contains(says), "{error}");
    }
    for at in ["zmq://127.0.0.1:1", "zmq://host.example:1", "zmq://ipc/00000000000000ff"] {
        transport.check_dial(&endpoint(at)).expect(at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_can_enter_is_refused() {
    let (folder, _) = folder_with(0o755);
    let error = bind_error(&folder.transport(), "zmq://ipc").await;
    assert!(error.contains("mode 755") && error.contains("chmod 700"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_is_refused() {
    let (folder, path) = folder_with(0o700);
    let long = format!("zmq://ipc/{}/{}", path.display(), "x".repeat(108));
    let error = bind_error(&folder.transport(), &long).await;
    assert!(error.contains("107 bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let (folder, path) = folder_with(0o700);
    let transport = folder.transport();
    let socket = path.join("00000000000000aa");
    // A process that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let door = transport.bind(&endpoint("zmq://ipc/00000000000000aa")).await.unwrap();
    assert_eq!(door.endpoints(), [endpoint("zmq://ipc/00000000000000aa")]);
    let error = bind_error(&transport, "zmq://ipc/00000000000000aa").await;
    assert!(error.contains("another process listens"), "{error}");
    drop(door);
    assert!(!socket.exists());

    std::fs::write(&socket, "a letter").unwrap();
    let error = bind_error(&transport, "zmq://ipc/00000000000000aa").await;
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_in_the_runtime_folder_removes_what_the_dead_left() {
    let (folder, path) = folder_with(0o700);
    let dead = |name: &str| {
        let socket = path.join(name);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        socket
    };
    let stale = [dead("00000000000000aa"), dead("00000000000000bb")];
    let foreign = dead("foreign.sock");
    // One who takes no connection listens all the same.
    let live = path.join("00000000000000cc");
    let _listening = std::os::unix::net::UnixListener::bind(&live).unwrap();
    let letter = path.join("00000000000000dd");
    std::fs::write(&letter, "a letter").unwrap();

    let transport = folder.transport();
    let elsewhere = Folder::new();
    let place = endpoint(&format!("zmq://ipc/{}/door", elsewhere.path().display()));
    let _door = transport.bind(&place).await.unwrap();
    assert!(stale.iter().all(|socket| socket.exists()), "that door is in another folder");
    let _door = transport.bind(&endpoint("zmq://ipc")).await.unwrap();
    assert!(!stale.iter().any(|socket| socket.exists()), "no process listens there");
    assert!(foreign.exists() && live.exists() && letter.exists(), "others' and live ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_a_socket_is_an_error_that_names_it() {
    let (folder, _) = folder_with(0o700);
    for at in ["zmq://ipc/00000000000000bb", "zmq://127.0.0.1:1"] {
        let error = folder.transport().connect(&endpoint(at)).await.expect_err("nobody is there");
        assert!(matches!(error, TransportError::Connect { .. }), "{error:?}");
        assert!(error.to_string().contains(at), "{error}");
    }
}
