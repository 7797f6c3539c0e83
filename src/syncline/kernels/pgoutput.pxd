# The C types of pgoutput.py, which runs without them as well.
cimport cython

cdef bint _COMPILED
cdef int _NULL, _UNSENT
cdef Py_ssize_t _MOST_BYTES

@cython.locals(known="Py_ssize_t", wanted=bint, messages=list, row_bytes="Py_ssize_t", message=bytes,
               kind=int, relation="Py_ssize_t")
cpdef collect(list frames, Py_ssize_t at, dict places, Py_ssize_t nbytes, Py_ssize_t room)

cdef class Decoded:
    cdef readonly list messages
    cdef readonly Py_ssize_t count, width
    cdef readonly bytearray kinds
    cdef readonly bint unsent, keyed
    cdef int[::1] key, starts, sizes, old_starts, old_sizes

    @cython.locals(first="Py_ssize_t", offsets="int[::1]", validity=bytearray, unsent=bytearray,
                   payload=bytearray, total="Py_ssize_t", nulls="Py_ssize_t", holes="Py_ssize_t",
                   row="Py_ssize_t", size=int)
    cpdef column(self, Py_ssize_t place)

    @cython.locals(kind=int, form=int, at="Py_ssize_t", old=bint)
    cdef int _read(self, bytes message, Py_ssize_t row) except -1

    @cython.locals(count="Py_ssize_t", form=int, size="Py_ssize_t")
    cdef Py_ssize_t _read_cells(self, bytes message, Py_ssize_t at, int[::1] starts, int[::1] sizes,
                                Py_ssize_t to, Py_ssize_t step) except -1

    @cython.locals(column="Py_ssize_t", place="Py_ssize_t")
    cdef int _settle_delete(self, Py_ssize_t row) except -1

    @cython.locals(changed=bint, incomplete=bint, holes=bint, column="Py_ssize_t", place="Py_ssize_t")
    cdef int _settle_row(self, bytes message, Py_ssize_t row, bint old, bint whole) except -1

    @cython.locals(to="Py_ssize_t")
    cdef int _fill(self, Py_ssize_t column, Py_ssize_t row) except -1

    @cython.locals(to="Py_ssize_t")
    cdef int _keep_old(self, Py_ssize_t place, Py_ssize_t row) except -1

    @cython.locals(size=int, before="Py_ssize_t", after="Py_ssize_t", i="Py_ssize_t")
    cdef int _is_same(self, bytes message, Py_ssize_t column, Py_ssize_t row) except -1

@cython.locals(value="Py_ssize_t", i="Py_ssize_t")
cdef Py_ssize_t _number(bytes message, Py_ssize_t at, Py_ssize_t size) except -1

@cython.locals(i="Py_ssize_t")
cdef int _copy(bytes message, Py_ssize_t start, Py_ssize_t size, bytearray payload, Py_ssize_t to) except -1
