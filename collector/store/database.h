#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

namespace collector {

/// One SQLite connection. Every failure throws Error naming the file, what
/// SQLite says and what to do. Not thread-safe.
class Database {
 public:
  /// `name` is a path or a `file:` URI; `path` is the file that messages name.
  Database(const std::string& name, int flags, std::string path);

  void Run(const char* sql);
  [[noreturn]] void Fail(const char* doing) const;
  const std::string& path() const { return path_; }
  sqlite3* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close(handle); }
  };
  std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

/// One prepared statement; parameters and columns count from 0.
class Statement {
 public:
  Statement(Database& database, const char* sql);

  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, double value);
  Statement& Bind(int index, const std::string& value);
  /// True while there is a row.
  bool Step();
  /// Runs it to its end and makes it ready for the next Bind.
  void Run();

  int64_t Integer(int column) const;
  double Real(int column) const;
  std::string Text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const { sqlite3_finalize(handle); }
  };
  Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

/// Rolls back unless it was committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  void Commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace collector
