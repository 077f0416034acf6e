//! What all tests share: real `dse-node` processes in folders of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before its test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A place of its own: no node of another test is seen from here.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    transport: &'static str,
}

impl Place {
    /// A place whose commands use this transport.
    pub(crate) fn new(transport: &'static str) -> Self {
        // A socket's path may have 107 bytes, so the folder's is short.
        let folder = tempfile::Builder::new().prefix("dse-").tempdir_in("/tmp");
        Self { folder: folder.expect("temporary folder"), transport }
    }

    /// A file of this place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of this place.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A command of this place.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dse-node"));
        self.set_up(&mut command);
        command.args(args);
        command
    }

    /// Puts a command into this place.
    pub(crate) fn set_up(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DSE_") {
                command.env_remove(name);
            }
        }
        command
            .env("DSE_RUNTIME_DIR", self.path("run"))
            .env("DSE_DATA_DIR", self.path("data"))
            .env("DSE_TRANSPORT", self.transport)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Runs a command to its end.
    pub(crate) fn ends(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args))
    }

    /// Runs a command to its end and reads the one JSON object that it prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ended = self.ends(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("one JSON object")
    }

    /// Starts a command that goes on.
    pub(crate) fn starts(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }

    /// Starts a node and waits until it is ready.
    pub(crate) fn node(&self, name: &str, args: &[&str]) -> Node {
        let mut all = vec!["run", "--json", "--name", name];
        all.extend(args);
        Node::of(self.starts(&all))
    }

    /// Starts a subscriber and waits until it has subscribed.
    pub(crate) fn subscriber(&self, args: &[&str]) -> Running {
        let mut all = vec!["sub", "--json", "--log", "dse_node=info"];
        all.extend(args);
        let mut subscriber = self.starts(&all);
        subscriber.says("subscribes to");
        subscriber
    }
}

/// An address at which nobody listens, and nobody can while this lives: it is the dialling
/// end of a connection.
pub(crate) struct Deserted {
    pub(crate) address: String,
    _ends: (TcpListener, TcpStream),
}

impl Deserted {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let address = stream.local_addr().expect("connected").to_string();
        Self { address, _ends: (listener, stream) }
    }
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    pub(crate) fn of(command: Command) -> Self {
        Running::of(command).ended()
    }
}

/// A command that goes on. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// All that was heard of standard error, for the message of a failed test.
    heard: String,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("started");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr, heard: String::new() }
    }

    /// The first JSON line on standard output from here on that fits.
    pub(crate) fn prints(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.prints_within(PATIENCE, what, fits)
    }

    /// The same, within this time.
    pub(crate) fn prints_within(
        &mut self,
        patience: Duration,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        while let Some(line) = next(&self.stdout, deadline) {
            let value: Value = serde_json::from_str(&line).expect("a JSON line");
            if fits(&value) {
                return value;
            }
        }
        panic!("no {what} on standard output; on standard error:\n{}", self.all_heard());
    }

    /// The next line on standard output.
    pub(crate) fn line(&mut self) -> String {
        match next(&self.stdout, Instant::now() + PATIENCE) {
            Some(line) => line.trim_end_matches('\n').to_owned(),
            None => panic!("no line; on standard error:\n{}", self.all_heard()),
        }
    }

    /// The first line on standard error from here on that holds this text.
    pub(crate) fn says(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = next(&self.stderr, deadline) {
            self.heard.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
        panic!("no {text:?} on standard error, but:\n{}", self.all_heard());
    }

    /// Its standard input, where it was piped.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("signalled");
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("collected");
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.end()
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.rest_of_stdout();
        self.child.wait().expect("collected")
    }

    /// Waits until it has ended: what it still had to say, and all of standard error.
    pub(crate) fn ended(mut self) -> Ended {
        let stdout = self.rest_of_stdout();
        let status = self.child.wait().expect("collected");
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = next(&self.stderr, deadline) {
            self.heard.push_str(&line);
        }
        Ended { code: status.code(), stdout, stderr: std::mem::take(&mut self.heard) }
    }

    /// To its end, which is the end of the process.
    fn rest_of_stdout(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = String::new();
        while let Some(line) = next(&self.stdout, deadline) {
            rest.push_str(&line);
        }
        let ended = Instant::now() < deadline;
        assert!(ended, "it does not end; it said:\n{rest}{}", self.all_heard());
        rest
    }

    fn all_heard(&mut self) -> &str {
        self.heard.extend(self.stderr.try_iter());
        &self.heard
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `run` that is ready.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) incarnation: u64,
    pub(crate) endpoints: Vec<String>,
}

impl Node {
    pub(crate) fn of(mut running: Running) -> Self {
        let ready = running.prints("ready", |line| line["event"] == "ready");
        let endpoints = ready["endpoints"].as_array().expect("a list").iter();
        let endpoints = endpoints.map(|it| it.as_str().expect("a text").to_owned()).collect();
        let incarnation = ready["incarnation"].as_u64().expect("a number");
        Self { running, incarnation, endpoints }
    }
}

/// Each with the end of line that it has.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = String::new();
        while reader.read_line(&mut line).expect("UTF-8") > 0 {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next(lines: &Receiver<String>, deadline: Instant) -> Option<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    lines.recv_timeout(left).ok()
}

/// A publisher whose input is held open.
pub(crate) struct Feeding {
    pub(crate) running: Running,
    pub(crate) stdin: std::process::ChildStdin,
}

impl Feeding {
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(&["pub", "demo/lines", "--json"]);
        command.args(args).stdin(Stdio::piped());
        let mut running = Running::of(command);
        let stdin = running.stdin();
        Self { running, stdin }
    }

    pub(crate) fn feed(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it reads");
    }

    /// Feeds so much that nothing on the way can hold it: 32 MiB.
    pub(crate) fn flood(&self) {
        let mut pipe = std::fs::File::from(self.stdin.as_fd().try_clone_to_owned().expect("open"));
        let (done, is_done) = channel();
        // Beside this: who does not read lets nobody write.
        thread::spawn(move || {
            let line = [&[b'x'; 64 * 1024][..], b"\n"].concat();
            let _ = done.send((0..512).try_for_each(|_| pipe.write_all(&line)));
        });
        is_done.recv_timeout(PATIENCE).expect("it reads on").expect("it reads");
    }

    /// Ends its input, then itself.
    pub(crate) fn ended(self) -> (Ended, Value) {
        drop(self.stdin);
        report(self.running)
    }
}

/// Its end, and the report on standard output.
pub(crate) fn report(running: Running) -> (Ended, Value) {
    let ended = running.ended();
    let told = serde_json::from_str(&ended.stdout);
    (Ended { stdout: String::new(), ..ended }, told.expect("one JSON object"))
}

/// Runs a command with these lines on its standard input.
pub(crate) fn fed(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped());
    let mut running = Running::of(command);
    let mut stdin = running.stdin();
    thread::scope(|scope| {
        // Beside it: who does not read lets nobody write.
        let writing = scope.spawn(move || stdin.write_all(input.as_bytes()));
        let ended = running.ended();
        writing.join().expect("no panic").expect("written");
        ended
    })
}

/// Appends to a file.
pub(crate) fn append(path: &Path, text: &str) {
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.expect("opened").write_all(text.as_bytes()).expect("written");
}
