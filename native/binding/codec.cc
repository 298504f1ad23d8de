// The codec for src/fits. Every function takes bytes that lie in JavaScript's memory and gives a status back as data; no
// pixel is copied on the way. Offsets and sizes come as numbers (exact below 2^53, more than any file holds).
#include <napi.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "native/binding/convert.h"
#include "native/binding/registrars.h"
#include "native/codec/checksum.h"
#include "native/codec/gzip.h"
#include "native/codec/header.h"
#include "native/codec/scale.h"
#include "native/codec/swap.h"
#include "native/codec/table.h"
#include "native/codec/tile.h"

namespace rampline::binding {
namespace {

struct Bytes {
  uint8_t* data = nullptr;
  size_t size = 0;
};

// The bytes of any typed array.
std::optional<Bytes> BytesOf(const Napi::Value& value) {
  if (!value.IsTypedArray()) return std::nullopt;
  napi_typedarray_type type;
  size_t length = 0, offset = 0;
  void* data = nullptr;
  napi_value buffer;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, &buffer, &offset) != napi_ok) {
    return std::nullopt;
  }
  size_t width = 1;
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array: width = 2; break;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array: width = 4; break;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: width = 8; break;
    default: break;
  }
  return Bytes{static_cast<uint8_t*>(data), length * width};
}

Napi::Object Failed(Napi::Env env, const char* message) { return StatusObject(env, Fail(Code::kUsage, message)); }

// Arguments of one call, read in order; a wrong one is remembered and refused once, at the end.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  Bytes Array() {
    const std::optional<Bytes> bytes = BytesOf(Next());
    if (!bytes) good_ = false;
    return bytes.value_or(Bytes{});
  }
  double Number() {
    const Napi::Value value = Next();
    if (!value.IsNumber()) {
      good_ = false;
      return 0;
    }
    return value.As<Napi::Number>().DoubleValue();
  }
  // A count, an offset or a size.
  int64_t Size() {
    const double value = Number();
    if (!(value >= 0 && value <= 9007199254740992.0)) {  // 2^53
      good_ = false;
      return 0;
    }
    return static_cast<int64_t>(value);
  }
  int Int() {
    const double value = Number();
    if (!(std::abs(value) <= 2147483647.0)) {
      good_ = false;
      return 0;
    }
    return static_cast<int>(value);
  }
  bool Bool() {
    const Napi::Value value = Next();
    return value.IsBoolean() && value.As<Napi::Boolean>().Value();
  }
  // A bigint, or undefined where there is none.
  std::optional<int64_t> Integer() {
    const Napi::Value value = Next();
    if (!value.IsBigInt()) return std::nullopt;
    bool lossless = false;
    const int64_t result = value.As<Napi::BigInt>().Int64Value(&lossless);
    return lossless ? std::optional<int64_t>(result) : std::nullopt;
  }
  bool good() const { return good_; }

 private:
  Napi::Value Next() { return info_[next_++]; }  // undefined beyond the last one

  const Napi::CallbackInfo& info_;
  size_t next_ = 0;
  bool good_ = true;
};

constexpr const char* kWrongArguments = "the codec was called with wrong arguments";

double Number(int64_t value) { return static_cast<double>(value); }

// (bytes, available, first, tolerateTruncated, maxCards, maxAxes, maxBytes)
Napi::Value ScanHeaderJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Arguments in(info);
  const Bytes bytes = in.Array();
  const int64_t available = in.Size();
  const bool first = in.Bool(), tolerate = in.Bool();
  HeaderLimits limits;
  limits.cards = in.Size();
  limits.axes = in.Size();
  limits.bytes = in.Size();
  if (!in.good()) {
    result.Set("status", Failed(env, kWrongArguments));
    return result;
  }
  std::vector<Card> cards(bytes.size / kCardBytes);
  HduShape shape;
  bool complete = false;
  const Status status = ScanHeader(bytes.data, bytes.size, available, first, tolerate, limits, cards.data(),
                                   cards.size(), &shape, &complete);
  result.Set("status", StatusObject(env, status));
  result.Set("complete", complete);
  if (!status.ok() || !complete) return result;
  result.Set("kind", static_cast<double>(shape.kind));
  result.Set("bitpix", shape.bitpix);
  Napi::Array axes = Napi::Array::New(env, static_cast<size_t>(shape.naxis));
  for (int i = 0; i < shape.naxis; ++i) axes.Set(static_cast<uint32_t>(i), Number(shape.axes[i]));
  result.Set("axes", axes);
  result.Set("pcount", Number(shape.pcount));
  result.Set("gcount", Number(shape.gcount));
  result.Set("tfields", shape.tfields);
  result.Set("headerBytes", Number(shape.headerBytes));
  result.Set("dataBytes", Number(shape.dataBytes));
  result.Set("dataPresent", Number(shape.dataPresent));
  const size_t n = static_cast<size_t>(shape.cards);
  Napi::Uint8Array spans = Napi::Uint8Array::New(env, n * 8);
  Napi::Float64Array numbers = Napi::Float64Array::New(env, n * 2);
  for (size_t i = 0; i < n; ++i) {
    const Card& card = cards[i];
    const uint8_t fields[8] = {static_cast<uint8_t>(card.kind),
                               card.flags,
                               card.keyBegin,
                               card.keyEnd,
                               card.valueBegin,
                               card.valueEnd,
                               card.commentBegin,
                               card.commentEnd};
    std::memcpy(spans.Data() + 8 * i, fields, 8);
    numbers[2 * i] = card.number;
    numbers[2 * i + 1] = card.imaginary;
  }
  result.Set("spans", spans);
  result.Set("numbers", numbers);
  return result;
}

// (in, count, width, flipSign, out)
template <auto kSwap>
Napi::Value SwapJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const Bytes in = a.Array();
  const int64_t count = a.Size();
  const int width = a.Int();
  const bool flip = a.Bool();
  const Bytes out = a.Array();
  if (!a.good()) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(), kSwap(in.data, in.size, static_cast<size_t>(count), width, flip, out.data, out.size));
}

// (in, rows, stride, offset, repeat, width, flipSign, out)
Napi::Value GatherJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const Bytes in = a.Array();
  const int64_t rows = a.Size(), stride = a.Size(), offset = a.Size(), repeat = a.Size();
  const int width = a.Int();
  const bool flip = a.Bool();
  const Bytes out = a.Array();
  if (!a.good()) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(), GatherElements(in.data, in.size, static_cast<size_t>(rows),
                                                 static_cast<size_t>(stride), static_cast<size_t>(offset),
                                                 static_cast<size_t>(repeat), width, flip, out.data, out.size));
}

// (in, count, bitpix, scale, zero, blank: bigint | undefined, wide, out)
Napi::Value ScaleJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const Bytes in = a.Array();
  const int64_t count = a.Size();
  const int bitpix = a.Int();
  const double scale = a.Number(), zero = a.Number();
  const std::optional<int64_t> blank = a.Integer();
  const bool wide = a.Bool();
  const Bytes out = a.Array();
  if (!a.good()) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(), ScaleElements(in.data, in.size, static_cast<size_t>(count), bitpix, scale, zero,
                                                blank.has_value(), blank.value_or(0), wide, out.data, out.size));
}

// (in, rows, stride, offset, repeat, out)
Napi::Value UnpackBitsJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const Bytes in = a.Array();
  const int64_t rows = a.Size(), stride = a.Size(), offset = a.Size(), repeat = a.Size();
  const Bytes out = a.Array();
  if (!a.good()) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(),
                      UnpackBits(in.data, in.size, static_cast<size_t>(rows), static_cast<size_t>(stride),
                                 static_cast<size_t>(offset), static_cast<size_t>(repeat), out.data, out.size));
}

HeapColumn ReadHeapColumn(Arguments* a) {
  HeapColumn column;
  const Bytes in = a->Array();
  column.data = in.data;
  column.bytes = in.size;
  column.rows = static_cast<size_t>(a->Size());
  column.stride = static_cast<size_t>(a->Size());
  column.offset = static_cast<size_t>(a->Size());
  column.wide = a->Bool();
  column.heapOffset = a->Size();
  column.elementBits = a->Int();
  return column;
}

// (in, rows, stride, offset, wide, heapOffset, elementBits, offsets: BigInt64Array)
Napi::Value MeasureHeapJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const HeapColumn column = ReadHeapColumn(&a);
  const Bytes offsets = a.Array();
  if (!a.good()) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(),
                      MeasureHeapColumn(column, reinterpret_cast<int64_t*>(offsets.data), offsets.size / 8));
}

// (in, rows, stride, offset, wide, heapOffset, elementBits, offsets: BigInt64Array, width, flipSign, out)
Napi::Value GatherHeapJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const HeapColumn column = ReadHeapColumn(&a);
  const Bytes offsets = a.Array();
  const int width = a.Int();
  const bool flip = a.Bool();
  const Bytes out = a.Array();
  if (!a.good() || offsets.size / 8 < column.rows) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(), GatherHeapColumn(column, reinterpret_cast<const int64_t*>(offsets.data), width, flip,
                                                   out.data, out.size));
}

// (state, bytes, offset) -> state
Napi::Value ChecksumJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const int64_t state = a.Size();
  const Bytes in = a.Array();
  const int64_t offset = a.Size();
  if (!a.good()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(),
                           ChecksumAdd(static_cast<uint32_t>(state), in.data, in.size, static_cast<uint64_t>(offset)));
}

// (value, complement) -> string of 16
Napi::Value ChecksumEncodeJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const int64_t value = a.Size();
  const bool complement = a.Bool();
  if (!a.good()) return info.Env().Undefined();
  char text[16];
  ChecksumEncode(static_cast<uint32_t>(value), complement, text);
  return Napi::String::New(info.Env(), text, sizeof text);
}

// Fields of src/fits/native.ts: TileImageSpec. False when something is missing or of a wrong type.
bool ReadTileColumn(const Napi::Object& spec, const char* key, TileColumn* column) {
  const Napi::Value value = spec.Get(key);
  if (value.IsUndefined()) return true;
  if (!value.IsObject()) return false;
  const Napi::Object object = value.As<Napi::Object>();
  column->offset = Int(object, "offset", -1);
  column->wide = object.Get("wide").ToBoolean();
  column->width = static_cast<int>(Int(object, "width", 0));
  return column->offset >= 0;
}

bool ReadScalarColumn(const Napi::Object& spec, const char* key, ScalarColumn* column) {
  const Napi::Value value = spec.Get(key);
  if (value.IsUndefined()) return true;
  if (!value.IsObject()) return false;
  const Napi::Object object = value.As<Napi::Object>();
  column->offset = Int(object, "offset", -1);
  const Napi::Value type = object.Get("type");
  const std::string letter = type.IsString() ? type.As<Napi::String>().Utf8Value() : "";
  if (letter.size() != 1 || std::string("BIJKED").find(letter) == std::string::npos) return false;
  column->type = letter[0];
  return column->offset >= 0;
}

bool ReadAxes(const Napi::Object& spec, const char* key, int naxis, int64_t* axes) {
  const Napi::Value value = spec.Get(key);
  if (!value.IsArray()) return false;
  const Napi::Array array = value.As<Napi::Array>();
  if (array.Length() != static_cast<uint32_t>(naxis)) return false;
  for (int i = 0; i < naxis; ++i) {
    const Napi::Value axis = array.Get(static_cast<uint32_t>(i));
    if (!axis.IsNumber()) return false;
    axes[i] = axis.As<Napi::Number>().Int64Value();
  }
  return true;
}

bool ReadKeyword(const Napi::Object& spec, const char* key, double* number) {
  const Napi::Value value = spec.Get(key);
  if (!value.IsNumber()) return false;
  *number = value.As<Napi::Number>().DoubleValue();
  return true;
}

bool ReadTileImage(const Napi::Value& value, TileImage* image) {
  if (!value.IsObject()) return false;
  const Napi::Object spec = value.As<Napi::Object>();
  const Napi::Value axes = spec.Get("axes");
  if (!axes.IsArray() || axes.As<Napi::Array>().Length() > kTileMaxAxes) return false;
  image->naxis = static_cast<int>(axes.As<Napi::Array>().Length());
  image->codec = static_cast<TileCodec>(Int(spec, "codec", 0) & 3);
  image->bitpix = static_cast<int>(Int(spec, "bitpix", 0));
  image->rows = Int(spec, "rows", -1);
  image->rowBytes = Int(spec, "rowBytes", -1);
  image->heapOffset = Int(spec, "heapOffset", -1);
  double blank = 0;
  image->hasScale = ReadKeyword(spec, "scaleKeyword", &image->scale);
  image->hasZero = ReadKeyword(spec, "zeroKeyword", &image->zero);
  image->hasBlank = ReadKeyword(spec, "blankKeyword", &blank);
  if (!(std::abs(blank) <= 2147483648.0)) return false;
  image->blank = static_cast<int64_t>(blank);
  image->dither = static_cast<Dither>(Int(spec, "dither", 0) % 3);
  image->ditherSeed = Int(spec, "ditherSeed", 1);
  image->lossless = spec.Get("lossless").ToBoolean();
  image->blockSize = static_cast<int>(Int(spec, "blockSize", 32));
  image->bytesPerPixel = static_cast<int>(Int(spec, "bytesPerPixel", 4));
  image->flipSign = spec.Get("flipSign").ToBoolean();
  if (image->ditherSeed < 0 || image->ditherSeed > kRandomCount) return false;
  return ReadKeyword(spec, "bscale", &image->bscale) && ReadKeyword(spec, "bzero", &image->bzero) &&
         ReadAxes(spec, "axes", image->naxis, image->axes) && ReadAxes(spec, "tile", image->naxis, image->tile) &&
         ReadTileColumn(spec, "compressed", &image->compressed) && ReadTileColumn(spec, "gzipped", &image->gzipped) &&
         ReadTileColumn(spec, "uncompressed", &image->uncompressed) &&
         ReadScalarColumn(spec, "scale", &image->scaleColumn) && ReadScalarColumn(spec, "zero", &image->zeroColumn) &&
         ReadScalarColumn(spec, "blank", &image->blankColumn);
}

// (spec, data) -> {status, pixels}
Napi::Value CheckTilesJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  TileImage image;
  const std::optional<Bytes> data = BytesOf(info[1]);
  if (!data || !ReadTileImage(info[0], &image)) {
    result.Set("status", Failed(env, kWrongArguments));
    return result;
  }
  int64_t pixels = 0;
  result.Set("status", StatusObject(env, CheckTileImage(image, data->data, data->size, &pixels)));
  result.Set("pixels", Number(pixels));
  return result;
}

// (spec, data, out)
Napi::Value DecodeTilesJs(const Napi::CallbackInfo& info) {
  TileImage image;
  const std::optional<Bytes> data = BytesOf(info[1]), out = BytesOf(info[2]);
  if (!data || !out || !ReadTileImage(info[0], &image)) return Failed(info.Env(), kWrongArguments);
  return StatusObject(info.Env(), DecodeTileImage(image, data->data, data->size, out->data, out->size));
}

// Runs `work` off the JavaScript thread and resolves with its status. The arrays it uses are held meanwhile.
template <class Work>
class StatusWorker final : public Napi::AsyncWorker {
 public:
  StatusWorker(const Napi::CallbackInfo& info, Work work)
      : Napi::AsyncWorker(info.Env(), "rampline.codec"),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        work_(std::move(work)) {
    for (size_t i = 0; i < info.Length(); ++i) {
      if (info[i].IsObject()) held_.push_back(Napi::Persistent(info[i].As<Napi::Object>()));
    }
  }
  Napi::Promise Promise() const { return deferred_.Promise(); }
  void Execute() override { status_ = work_(); }
  void OnOK() override { deferred_.Resolve(StatusObject(Env(), status_)); }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  Status status_;
  std::vector<Napi::ObjectReference> held_;
};

template <class Work>
Napi::Value RunAsync(const Napi::CallbackInfo& info, Work work) {
  auto* worker = new StatusWorker<Work>(info, std::move(work));  // deletes itself
  worker->Queue();
  return worker->Promise();
}

Napi::Value DecodeTilesAsyncJs(const Napi::CallbackInfo& info) {
  TileImage image;
  const std::optional<Bytes> data = BytesOf(info[1]), out = BytesOf(info[2]);
  const bool good = data && out && ReadTileImage(info[0], &image);
  return RunAsync(info, [=] {
    if (!good) return Fail(Code::kUsage, kWrongArguments);
    return DecodeTileImage(image, data->data, data->size, out->data, out->size);
  });
}

// (bytes) -> {status, claimed}
Napi::Value GzipClaimJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Arguments a(info);
  const Bytes in = a.Array();
  int64_t claimed = 0;
  result.Set("status", StatusObject(env, GzipClaim(in.data, in.size, &claimed)));
  result.Set("claimed", Number(claimed));
  return result;
}

// (bytes, out) -> {status, written, complete}
Napi::Value GunzipJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Arguments a(info);
  const Bytes in = a.Array(), out = a.Array();
  size_t written = 0;
  bool complete = true;
  const Status status = a.good() ? GzipInflateFile(in.data, in.size, out.data, out.size, &written, &complete)
                                 : Fail(Code::kUsage, kWrongArguments);
  result.Set("status", StatusObject(env, status));
  result.Set("written", static_cast<double>(written));
  result.Set("complete", complete);
  return result;
}

// (codec, rowPixels, width, blockSize) -> bytes
Napi::Value EncodedRowBoundJs(const Napi::CallbackInfo& info) {
  Arguments a(info);
  const int codec = a.Int();
  const int64_t pixels = a.Size();
  const int width = a.Int(), blockSize = a.Int();
  if (!a.good()) return info.Env().Undefined();
  return Napi::Number::New(
      info.Env(), static_cast<double>(EncodedRowBound(static_cast<TileCodec>(codec & 3), pixels, width, blockSize)));
}

// (codec, in, rows, rowPixels, width, flipSign, blockSize, level, scratch, lengths: BigInt64Array, heap) ->
// {status, written}
Napi::Value EncodeRowsJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Arguments a(info);
  const int codec = a.Int();
  const Bytes in = a.Array();
  const int64_t rows = a.Size(), pixels = a.Size();
  const int width = a.Int();
  const bool flip = a.Bool();
  const int blockSize = a.Int(), level = a.Int();
  const Bytes scratch = a.Array(), lengths = a.Array(), heap = a.Array();
  size_t written = 0;
  Status status = Fail(Code::kUsage, kWrongArguments);
  if (a.good() && lengths.size / 8 >= static_cast<size_t>(rows)) {
    status = EncodeRows(static_cast<TileCodec>(codec & 3), in.data, in.size, rows, pixels, width, flip, blockSize,
                        level, scratch.data, scratch.size, reinterpret_cast<int64_t*>(lengths.data), heap.data,
                        heap.size, &written);
  }
  result.Set("status", StatusObject(env, status));
  result.Set("written", static_cast<double>(written));
  return result;
}

}  // namespace

void RegisterCodec(Napi::Env env, Napi::Object exports) {
  Napi::Object codec = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    codec.Set(name, Napi::Function::New(env, function, name));
  };
  add("scanHeader", ScanHeaderJs);
  add("swap", SwapJs<SwapElements>);
  add("storeBigEndian", SwapJs<StoreBigEndian>);
  add("gather", GatherJs);
  add("scale", ScaleJs);
  add("unpackBits", UnpackBitsJs);
  add("measureHeap", MeasureHeapJs);
  add("gatherHeap", GatherHeapJs);
  add("checksum", ChecksumJs);
  add("checksumEncode", ChecksumEncodeJs);
  add("checkTiles", CheckTilesJs);
  add("decodeTiles", DecodeTilesJs);
  add("decodeTilesAsync", DecodeTilesAsyncJs);
  add("gzipClaim", GzipClaimJs);
  add("gunzip", GunzipJs);
  add("encodedRowBound", EncodedRowBoundJs);
  add("encodeRows", EncodeRowsJs);
  exports.Set("codec", codec);
}

}  // namespace rampline::binding
