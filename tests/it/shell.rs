//! The client among what surrounds it on a machine: proxies that the environment names.

use crate::client;
use crate::model_desk::Desk;
use sealstone_tests::registry::Setup;

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
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"] {
            command.env(name, &address);
        }
        client::run(&mut command).expect(0);
    }
    let nobody = proxy.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
