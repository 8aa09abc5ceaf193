//! Request and response: one service for each link, whose client is the driver.

use std::io;
use std::os::fd::OwnedFd;

use ::iceoryx2::active_request::ActiveRequest;
use ::iceoryx2::pending_response::PendingResponse;
use ::iceoryx2::port::client::Client;
use ::iceoryx2::port::server::Server;
use ::iceoryx2::prelude::{Alignment, Node, ipc};

use super::{Waiting, name, node, settle};
use crate::legs::Lanes;
use crate::mem;
use crate::payload::Payload;
use crate::transport::shm::other;
use crate::transport::{Arm, Link, Offer, Side, Transport};

#[derive(Debug)]
pub(crate) struct ReqRes;

impl Transport for ReqRes {
    type Ends = Lanes<Port>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        if arm.bench.is_one_way() {
            return Err("not supported: its operation is a round trip".to_owned());
        }
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        Ok(Offer::ready(ports(std::slice::from_ref(arm), Side::Driver)?, Vec::new()))
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        ports(&arm.clients(), Side::Peer)
    }
}

fn ports(arms: &[Arm], side: Side) -> io::Result<Lanes<Port>> {
    let (node, mut ports) = (node()?, Vec::new());
    for arm in arms {
        for number in 0..arm.streams {
            ports.push(Port::new(arm, &node, number, side)?);
        }
    }
    Ok(Lanes(ports))
}

#[derive(Debug)]
pub(crate) struct Port {
    role: Role,
    waiting: Waiting,
    payload: Payload,
}

type Asked = PendingResponse<ipc::Service, [u8], (), [u8], ()>;
type Asking = ActiveRequest<ipc::Service, [u8], (), [u8], ()>;

#[derive(Debug)]
enum Role {
    Client { client: Client<ipc::Service, [u8], (), [u8], ()>, asked: Option<Asked> },
    Server { server: Server<ipc::Service, [u8], (), [u8], ()>, asking: Option<Asking> },
}

impl Port {
    fn new(arm: &Arm, node: &Node<ipc::Service>, number: usize, side: Side) -> io::Result<Self> {
        let line = Alignment::new(64).expect("a power of two");
        let service = node
            .service_builder(&name(arm, number, "calls")?)
            .request_response::<[u8], [u8]>()
            .request_payload_alignment(line)
            .response_payload_alignment(line)
            .max_clients(1)
            .max_servers(1)
            .open_or_create()
            .map_err(other)?;
        let role = match side {
            Side::Driver => Role::Client {
                client: service
                    .client_builder()
                    .initial_max_slice_len(arm.size.0)
                    .create()
                    .map_err(other)?,
                asked: None,
            },
            Side::Peer => Role::Server {
                server: service
                    .server_builder()
                    .initial_max_slice_len(arm.size.0)
                    .create()
                    .map_err(other)?,
                asking: None,
            },
        };
        let waiting = Waiting::new(arm, node, number, side)?;
        Ok(Self { role, waiting, payload: arm.payload() })
    }
}

impl Link for Port {
    #[inline]
    fn send(&mut self, seq: u64, _count: u64) -> io::Result<()> {
        let len = self.payload.len(seq);
        match &mut self.role {
            Role::Client { client, asked } => {
                let request = client.loan_slice_uninit(len).map_err(other)?;
                let request = mem::filled_request(self.payload, request, seq);
                *asked = Some(request.send().map_err(other)?);
            }
            Role::Server { asking, .. } => {
                let asking = asking.take().ok_or_else(|| other("nobody has asked"))?;
                let response = asking.loan_slice_uninit(len).map_err(other)?;
                mem::filled_response(self.payload, response, seq).send().map_err(other)?;
            }
        }
        self.waiting.wake()
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let len = self.payload.len(seq);
        match &mut self.role {
            Role::Client { asked, .. } => {
                let asked = asked.take().ok_or_else(|| other("nothing was asked"))?;
                let response = self.waiting.until(|| asked.receive().map_err(other))?;
                assert_eq!(response.len(), len, "message {seq} has a wrong length");
                self.payload.check(&response, seq);
            }
            Role::Server { server, asking } => {
                let request = self.waiting.until(|| server.receive().map_err(other))?;
                assert_eq!(request.len(), len, "message {seq} has a wrong length");
                self.payload.check(&request, seq);
                *asking = Some(request);
            }
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.waiting.bells()
    }
}
