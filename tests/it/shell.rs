//! The client among what surrounds it on a machine: proxies that the environment names, places for its output that are
//! full or gone, variables of build servers.

use crate::client;
use crate::model_desk::Desk;
use sealstone_tests::registry::{Setup, binary};
use serde_json::{Value, json};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// Variables that name a proxy.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"];

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_is_told_a_secret_that_is_for_this_machine() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    // Whoever listens there would be sent the account's secret in clear text.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    for host in [
        registry.address().to_string(),
        format!("localhost:{}", registry.address().port()),
    ] {
        let mut command = desk.command(&["list", &host], Some(&registry));
        command.env("SEALSTONE_REGISTRY", &host);
        for name in PROXIES {
            command.env(name, &address);
        }
        client::run(&mut command).expect(0);
    }
    let nobody = proxy.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_and_port_that_no_proxy_names_is_asked_without_one() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    // An address of this machine that is none of loopback's.
    let host = format!("0.0.0.0:{}", registry.address().port());
    let mut command = desk.command(&["list", &host, "--plain-http"], Some(&registry));
    command.env("SEALSTONE_REGISTRY", &host);
    command.env("NO_PROXY", format!("elsewhere.example,{host}"));
    for name in PROXIES {
        command.env(name, &address);
    }
    client::run(&mut command).expect(0);
    let nobody = proxy.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_result_that_nobody_can_read_is_no_good_end() {
    let desk = Desk::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["list", "oci:bundle"][..], &["completions", "bash"]] {
        let mut command = desk.command(arguments, None);
        let ended = client::run(command.stdout(full())).expect(1);
        ended.says("writing the result failed");
    }
    // A reader that has enough is none of the client's business.
    for arguments in [&["list", "oci:bundle"][..], &["completions", "bash"]] {
        let mut command = desk.command(arguments, None);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn in_json_every_message_is_an_object() {
    let desk = Desk::new();
    let messages = |arguments: &[&str]| -> Vec<Value> {
        let output = desk.command(arguments, None).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let object = |line: &str| -> Value {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
            assert!(value["event"].is_string(), "{line}");
            value
        };
        text.lines().map(object).collect()
    };
    let others_may_read = Permissions::from_mode(0o644);
    std::fs::set_permissions(desk.path("alice.key"), others_may_read).unwrap();
    let sign = ["sign", "oci:bundle:1.0.0", "--key", "alice.key"];
    let logged = messages(&sign);
    let is_warned = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["event"] == "log" && line["level"] == "warn" && message.contains("others can read")
    };
    assert!(logged.iter().any(is_warned), "{logged:?}");
    let verbose = [&sign[..], &["-vv"]].concat();
    assert!(!messages(&verbose).is_empty());
    let pull = [
        "pull",
        "oci:bundle:1.0.0",
        "--key",
        "mallory.pub",
        "-o",
        "got",
    ];
    let refused = messages(&pull);
    assert_eq!(refused.last().unwrap()["outcome"], "refused");
    let misused = messages(&["push", "--kez", "model"]);
    assert_eq!(misused.len(), 1, "{misused:?}");
    assert_eq!(
        (&misused[0]["event"], &misused[0]["exitCode"]),
        (&json!("error"), &json!(2))
    );
}

/// A terminal that cannot draw bars is to this program like none.
#[test]
fn whoever_cannot_see_bars_reads_lines() {
    let desk = Desk::new();
    let mut command = Command::new(binary("sealstone").unwrap());
    command.args([
        "--output",
        "human",
        "copy",
        "oci:bundle:1.0.0",
        "oci:other:1.0.0",
    ]);
    let output = client::alone(&mut command, &desk.path(""))
        .output()
        .unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{messages}");
    assert!(messages.contains("copy model.safetensors: "), "{messages}");
    assert!(!messages.contains('\u{1b}'), "{messages:?}");
}

#[test]
fn a_variable_for_plain_http_says_so_in_the_usual_words() {
    let desk = Desk::new();
    for value in ["1", "yes", "true", "0", "false", ""] {
        let mut command = desk.command(&["list", "oci:bundle"], None);
        command.env("SEALSTONE_PLAIN_HTTP", value);
        client::run(&mut command).expect(0);
    }
}

#[test]
fn a_directory_where_a_place_is_due_is_told_how_to_write_one() {
    let desk = Desk::new();
    let ended = desk.run(&["push", "model", "h.example/x"]).expect(2);
    ended.says("oci:DIRECTORY[:tag] for a layout");
}

#[test]
fn a_refused_pack_leaves_nothing_for_the_next_one_to_pack() {
    let desk = Desk::new();
    let ended = desk.run(&["pack", "model", "-o", "model/lay"]).expect(2);
    ended.says("lies inside the directory");
    assert!(!desk.path("model/lay").exists());
    desk.run(&["pack", "nowhere", "-o", "lay"]).expect(5);
    assert!(!desk.path("lay").exists());
}
