//! What the tests of this transport share.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod relay;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Link, Listener, Received, Transport, TransportError};
use dse_transport_zmq::{ZmqConfig, ZmqTransport};

/// A runtime folder that goes away with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("dse-zmq-{}-{count}", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn transport(&self) -> ZmqTransport {
        transport_in(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn transport_in(folder: &Path) -> ZmqTransport {
    ZmqTransport::new(ZmqConfig { runtime_dir: folder.to_owned(), trust_network: false })
}

pub fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

/// Fails the test when it takes longer than any machine should need.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    const LIMIT: Duration = Duration::from_secs(20);
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {LIMIT:?}"),
    }
}

/// Listens at `at`, dials, and returns the dialler's link, the door's, and the door.
pub async fn pair(transport: &ZmqTransport, at: &str) -> (Link, Link, Box<dyn Listener>) {
    let mut listener = transport.bind(&endpoint(at)).await.expect("bind");
    let dialled = listener.endpoints()[0].clone();
    let (dialled, accepted) =
        soon("a link", async { tokio::join!(transport.connect(&dialled), listener.accept()) })
            .await;
    (dialled.expect("connect"), accepted.expect("accept"), listener)
}

pub async fn send_control(link: &mut Link, frames: &[Bytes]) -> Result<(), TransportError> {
    let mut queue: VecDeque<Bytes> = frames.iter().cloned().collect();
    poll_fn(|cx| link.control_sender.poll_send(cx, &mut queue)).await
}

/// At least one frame.
pub async fn recv_control(link: &mut Link) -> Result<Vec<Bytes>, TransportError> {
    let mut frames = Vec::new();
    loop {
        match poll_fn(|cx| link.control_receiver.poll_recv(cx, &mut frames)).await? {
            Received::Frames => return Ok(frames),
            Received::Hint => {}
        }
    }
}

pub async fn send_data(link: &mut Link, frame: DataFrame) -> Result<(), TransportError> {
    let mut frame = Some(frame);
    poll_fn(|cx| link.data_sender.poll_send(cx, &mut frame)).await
}

pub async fn recv_data(link: &mut Link) -> Result<DataFrame, TransportError> {
    poll_fn(|cx| link.data_receiver.poll_recv(cx)).await
}

pub async fn close(link: &mut Link) -> Result<(), TransportError> {
    poll_fn(|cx| link.control_sender.poll_close(cx)).await
}

/// This process's resident memory, in bytes.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).expect("a field").parse().expect("a number");
    pages * 4096
}

/// How many files this process has open.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("fd").count()
}

/// Runs the test `name` of this binary in a process of its own, which sees `variable`.
pub fn child(name: &str, variable: (&str, &str)) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--nocapture", "--ignored"])
        .env(variable.0, variable.1)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a child")
}

pub fn signal(child: &std::process::Child, signal: &str) {
    let status = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
}
