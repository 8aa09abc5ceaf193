//! Servers of the tests of HTTP and gRPC. Each serves at the address that it is given until its standard
//! input is closed, and then ends in good order.

use std::convert::Infallible;
use std::io::Write;
use std::os::unix::process::parent_id;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use bytes::Bytes;
use examples_grpc::EchoServer;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shmipc_http::{Address, Incoming, Peer};
use tests::child::die_with_parent;
use tokio::io::AsyncReadExt;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, address] = &arguments[..] else { panic!("unknown role: {arguments:?}") };
    die_with_parent();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let address: Address = address.parse().expect("an address");
        match role.as_str() {
            "upgradable" => return upgradable(&address).await,
            "flood" => return flood(&address).await,
            _ => {}
        }
        let incoming = Incoming::bind(&address).await.expect("the address is free");
        println!("listening {}", incoming.address());
        std::io::stdout().flush().expect("the test listens");
        match role.as_str() {
            "tonic" => tonic(incoming).await,
            "axum" => axum(incoming).await,
            "router" => router(incoming).await,
            "hyper" => hyper(incoming).await,
            _ => panic!("unknown role: {role}"),
        }
    });
    runtime.shutdown_background();
}

async fn hung_up() {
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

async fn tonic(incoming: Incoming) {
    let service = InterceptedService::new(EchoServer, know_the_caller);
    let router = tonic::transport::Server::builder().add_service(service);
    let incoming = incoming.until(hung_up());
    router.serve_with_incoming_shutdown(incoming, std::future::pending()).await.expect("served");
}

/// Can be replaced, and ends when it has been, and only then.
async fn upgradable(address: &Address) {
    let server = Incoming::bind_upgradable(address).await.expect("bound, or taken over");
    println!("generation {}", server.generation());
    std::io::stdout().flush().expect("the test listens");
    let router = tonic::transport::Server::builder().add_service(EchoServer);
    let serve = |incoming: Incoming| {
        println!("serving");
        std::io::stdout().flush().expect("the test listens");
        let ended = incoming.ended();
        tokio::spawn(async {
            ended.await;
            println!("handed over");
            std::io::stdout().flush().expect("the test listens");
        });
        router.clone().serve_with_incoming_shutdown(incoming, std::future::pending())
    };
    server.serve(serve).await.expect("served");
}

/// Connects and goes away without end.
async fn flood(address: &Address) {
    let Address::Shm(path) = address else { panic!("{address} has no sessions") };
    println!("listening {address}");
    std::io::stdout().flush().expect("the test listens");
    let connect = async {
        loop {
            // What the server makes of it is its own business.
            drop(shmipc_async::Session::connect(path).await);
        }
    };
    tokio::select! {
        () = connect => {}
        () = hung_up() => {}
    }
}

/// The tonic service inside of an axum router, which also tells a handler who calls.
async fn router(incoming: Incoming) {
    let service = InterceptedService::new(EchoServer, know_the_caller);
    let app = tonic::service::Routes::new(service).into_axum_router();
    let app = shmipc_http::axum::with_peer(app.route("/whoami", get(whoami)));
    axum::serve(incoming, app).with_graceful_shutdown(hung_up()).await.expect("served");
}

/// Every request says who calls: the test, which has started this process.
fn know_the_caller(request: Request<()>) -> Result<Request<()>, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer::Process(cred)) if cred.pid == parent_id() as i32 => Ok(request),
        Some(Peer::Remote(address)) if address.ip().is_loopback() => Ok(request),
        peer => Err(Status::internal(format!("called by {peer:?}"))),
    }
}

/// Answers with the process id of the client, or that it is remote.
async fn axum(incoming: Incoming) {
    let app = Router::new().route("/whoami", get(whoami));
    let app = app.into_make_service_with_connect_info::<Peer>();
    axum::serve(incoming, app).with_graceful_shutdown(hung_up()).await.expect("served");
}

async fn whoami(ConnectInfo(peer): ConnectInfo<Peer>) -> String {
    who(peer)
}

fn who(peer: Peer) -> String {
    match peer {
        Peer::Process(cred) => format!("process {}", cred.pid),
        Peer::Remote(address) => format!("remote {}", address.ip()),
    }
}

/// The same by hyper alone.
async fn hyper(mut incoming: Incoming) {
    let serve = async {
        while let Ok(connection) = incoming.accept().await {
            let peer = connection.peer();
            let service = service_fn(move |_| async move {
                let body = Full::new(Bytes::from(who(peer)));
                Ok::<_, Infallible>(hyper::Response::new(body))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
        }
    };
    tokio::select! {
        () = serve => panic!("the listener has ended"),
        () = hung_up() => {}
    }
}
