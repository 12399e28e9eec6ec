# Declarations of the system calls that the transport makes. There is no sockets.pyx.
from posix.types cimport off_t

cdef extern from "sys/uio.h" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "sys/socket.h" nogil:
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* buffer, size_t n, int flags)
    ssize_t recvmsg(int fd, msghdr* message, int flags)
    ssize_t send(int fd, const void* buffer, size_t n, int flags)
    enum:
        MSG_NOSIGNAL
        MSG_MORE
        MSG_DONTWAIT

cdef extern from "sys/sendfile.h" nogil:
    ssize_t sendfile(int out_fd, int in_fd, off_t* offset, size_t count)
