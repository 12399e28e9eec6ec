// Codecs for kafkajs, which has gzip built in. The others are JavaScript or WASM packages, registered here in the
// framing that Kafka uses: snappy in blocks behind xerial's header, lz4 as frames, zstd as frames.

import zstd from "@bokuweb/zstd-wasm";
import kafkajs from "kafkajs";
import lz4 from "lz4js";
import snappy from "snappyjs";

const { CompressionCodecs, CompressionTypes } = kafkajs;

const XERIAL_HEADER = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);

function fromXerial(data) {
  if (!data.subarray(0, 8).equals(XERIAL_HEADER.subarray(0, 8))) return Buffer.from(snappy.uncompress(data));
  const blocks = [];
  for (let at = 16; at < data.length; ) {
    const size = data.readInt32BE(at);
    blocks.push(Buffer.from(snappy.uncompress(data.subarray(at + 4, at + 4 + size))));
    at += 4 + size;
  }
  return Buffer.concat(blocks);
}

function toXerial(data) {
  const block = Buffer.from(snappy.compress(data));
  const size = Buffer.alloc(4);
  size.writeInt32BE(block.length);
  return Buffer.concat([XERIAL_HEADER, size, block]);
}

// lz4js marks the blocks of its frames as dependent on each other, which Kafka refuses; so the frame is
// laid here: version 1, independent blocks of at most 64 KiB, no checksums but the header's.
const LZ4_HEADER = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
const LZ4_BLOCK = 64 << 10;
const LZ4_STORED = 0x80000000;

function toLz4(data) {
  const parts = [LZ4_HEADER];
  for (let at = 0; at < data.length; at += LZ4_BLOCK) {
    const block = data.subarray(at, at + LZ4_BLOCK);
    const packed = new Uint8Array(lz4.compressBound(block.length));
    const length = lz4.compressBlock(block, packed, 0, block.length, new Uint32Array(1 << 16));
    const size = Buffer.alloc(4);
    const smaller = length > 0 && length < block.length;
    size.writeUInt32LE(smaller ? length : LZ4_STORED + block.length);
    parts.push(size, smaller ? Buffer.from(packed.subarray(0, length)) : block);
  }
  return Buffer.concat([...parts, Buffer.alloc(4)]);
}

await zstd.init();
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async (encoder) => toXerial(encoder.buffer),
  decompress: async (data) => fromXerial(data),
});
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => toLz4(encoder.buffer),
  decompress: async (data) => Buffer.from(lz4.decompress(data)),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (data) => Buffer.from(zstd.decompress(data)),
});

export const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
