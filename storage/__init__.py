"""The Zarr take: recordings and results go in as arrays with names and units, and come out checked.

`schema.SCHEMA` is the table of every array, `take.Take` opens a finished take, `ingest_writer.TakeWriter` makes one,
`results.Results` keeps what the steps produce and `integrity.verify_take` proves that a take is whole.
`places` are where takes lie, disks and fsspec URLs; `codecs.CODECS` are the ways to compress frames, which
`zarr_codecs` teaches to zarr-python. A new kind of array is one more line in `schema.SCHEMA`, a new codec one in
`codecs.CODECS`.
"""
