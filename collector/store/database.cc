#include "collector/store/database.h"

#include <fmt/format.h>

#include <utility>

#include "collector/error.h"

namespace collector {
namespace {

const char* RemedyFor(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return "free space there; what was recorded before is kept";
    case SQLITE_IOERR:
      return "check the disk and its free space; what was recorded before is "
             "kept";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "wait until the other program that uses it has ended";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return "check the rights of the file and its folder";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "the file is not a whole run database; record the run again";
    default:
      return "check the file";
  }
}

}  // namespace

Database::Database(const std::string& name, int flags, std::string path)
    : path_(std::move(path)) {
  sqlite3* handle = nullptr;
  int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  handle_.reset(handle);
  if (code != SQLITE_OK) Fail("open");
  sqlite3_busy_timeout(handle, 5000);
}

void Database::Run(const char* sql) {
  if (sqlite3_exec(get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    Fail("write");
}

void Database::Fail(const char* doing) const {
  throw Error(fmt::format("cannot {} {}: {}; {}", doing, path_,
                          sqlite3_errmsg(get()),
                          RemedyFor(sqlite3_errcode(get()))));
}

Statement::Statement(Database& database, const char* sql)
    : database_(database) {
  sqlite3_stmt* handle = nullptr;
  if (sqlite3_prepare_v2(database.get(), sql, -1, &handle, nullptr) !=
      SQLITE_OK)
    database.Fail("read");
  handle_.reset(handle);
}

Statement& Statement::Bind(int index, int64_t value) {
  sqlite3_bind_int64(handle_.get(), index + 1, value);
  return *this;
}

Statement& Statement::Bind(int index, double value) {
  sqlite3_bind_double(handle_.get(), index + 1, value);
  return *this;
}

Statement& Statement::Bind(int index, const std::string& value) {
  sqlite3_bind_text(handle_.get(), index + 1, value.data(),
                    static_cast<int>(value.size()), SQLITE_TRANSIENT);
  return *this;
}

bool Statement::Step() {
  int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE)
    database_.Fail(sqlite3_stmt_readonly(handle_.get()) ? "read" : "write");
  return false;
}

void Statement::Run() {
  while (Step()) continue;
  sqlite3_reset(handle_.get());
}

int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

double Statement::Real(int column) const {
  return sqlite3_column_double(handle_.get(), column);
}

std::string Statement::Text(int column) const {
  auto* text = sqlite3_column_text(handle_.get(), column);
  if (!text) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(handle_.get(), column))};
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.Run("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (open_)
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::Commit() {
  database_.Run("COMMIT");
  open_ = false;
}

}  // namespace collector
